/* How long connect(2) takes.
 *
 *     connect ADDRESS PORT COUNT
 *
 * For each byte that it reads it connects so often, one after the other, and writes the median of connect(2) alone and
 * the mean of socket(2), connect(2) and close(2), in nanoseconds. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int compare(const void *one, const void *other) {
	long long a = *(const long long *)one, b = *(const long long *)other;
	return (a > b) - (a < b);
}

int main(int argc, char **argv) {
	struct sockaddr_in to = {.sin_family = AF_INET};
	char byte;
	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || atoi(argv[3]) < 1)
		return 2;
	to.sin_port = htons(atoi(argv[2]));
	int count = atoi(argv[3]);
	long long *took = calloc(count, sizeof *took);
	while (read(0, &byte, 1) > 0) {
		long long begin = now();
		for (int i = 0; i < count; i++) {
			int fd = socket(AF_INET, SOCK_STREAM, 0);
			long long start = now();
			if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
				perror("connect");
				return 1;
			}
			took[i] = now() - start;
			close(fd);
		}
		long long all = now() - begin;
		qsort(took, count, sizeof *took, compare);
		dprintf(1, "%lld %lld\n", took[count / 2], all / count);
	}
	return 0;
}
