/* What else runs on a host: processes of a few KB, containers, sockets bound under relative names.
 *
 *     crowd PROCESSES CONTAINERS SOCKETS
 *
 * Started as PID 1 of a PID namespace. It forks everything and writes `ready`. For each byte that it reads it reaps the
 * orphans, and writes how many microseconds all of them took so far. It ends with its input, and the kernel ends all the
 * others with PID 1. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* As many as a small service has. */
#define DESCRIPTORS 20
/* As podman has: what waits for the container, its init and its service. */
#define MEMBERS 3

static int there[2];

static void fail(const char *what) {
	perror(what);
	if (write(there[1], "x", 1) != 1)
		perror("write");
	exit(1);
}

/* Says that this one is there, and stays. */
static void stay(void) {
	if (write(there[1], "", 1) != 1)
		fail("write");
	for (;;)
		pause();
}

static pid_t split(void) {
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	return pid;
}

static void bind_relative(int number) {
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(name.sun_path, sizeof name.sun_path, "attach-%d", number);
	if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, 1) < 0)
		fail("bind");
}

static void contain(void) {
	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		fail("unshare");
	for (int i = 1; i < MEMBERS; i++)
		if (split() == 0)
			stay();
	stay();
}

static int children(void) {
	char text[65536];
	int count = 0, fd = open("/proc/self/task/1/children", O_RDONLY);
	ssize_t got;
	if (fd < 0)
		fail("open");
	while ((got = read(fd, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < got; i++)
			count += text[i] == ' ';
	close(fd);
	return count;
}

/* Waits until only `own` children are left, for a second at most. */
static void reap(int own) {
	for (int i = 0; i < 1000; i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (children() <= own)
			return;
		usleep(1000);
	}
}

int main(int argc, char **argv) {
	char byte;
	if (argc != 4)
		return 2;
	int processes = atoi(argv[1]), containers = atoi(argv[2]), sockets = atoi(argv[3]);
	if (pipe(there) < 0)
		fail("pipe");
	for (int i = 0; i < processes; i++)
		if (split() == 0) {
			for (int fd = there[1] + 1; fd < DESCRIPTORS; fd++)
				dup2(0, fd);
			stay();
		}
	for (int i = 0; i < containers; i++)
		if (split() == 0)
			contain();
	/* One in each process, as each container's monitor has one. */
	for (int i = 0; i < sockets; i++)
		if (split() == 0) {
			bind_relative(i);
			stay();
		}
	/* One that failed has said why. */
	for (int i = 0; i < processes + containers * MEMBERS + sockets; i++)
		if (read(there[0], &byte, 1) != 1 || byte != 0)
			return 1;
	int own = processes + containers + sockets;
	if (write(1, "ready\n", 6) != 6)
		return 1;
	while (read(0, &byte, 1) > 0) {
		struct rusage usage;
		reap(own);
		getrusage(RUSAGE_CHILDREN, &usage);
		dprintf(1, "%lld\n", (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000LL + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	}
	return 0;
}
