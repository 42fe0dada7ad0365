/* What BPF programs take.
 *
 *     hooks ID...
 *
 * Has the kernel count while it runs, and for each byte that it reads writes a line for each program: its name, how
 * often it ran, how many nanoseconds that took, and how many instructions the verifier looked at; then an empty line. */
#define _GNU_SOURCE
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int command, union bpf_attr *attributes) {
	return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int show(unsigned id) {
	union bpf_attr attributes = {.prog_id = id};
	struct bpf_prog_info info = {0};
	int fd = bpf(BPF_PROG_GET_FD_BY_ID, &attributes);
	if (fd < 0)
		return -1;
	memset(&attributes, 0, sizeof attributes);
	attributes.info.bpf_fd = fd;
	attributes.info.info_len = sizeof info;
	attributes.info.info = (unsigned long)&info;
	int failed = bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes);
	close(fd);
	if (failed < 0)
		return -1;
	return dprintf(1, "%s %llu %llu %u\n", info.name, info.run_cnt, info.run_time_ns, info.verified_insns);
}

int main(int argc, char **argv) {
	union bpf_attr attributes = {.enable_stats.type = BPF_STATS_RUN_TIME};
	char byte;
	/* It counts until this descriptor is closed. */
	if (bpf(BPF_ENABLE_STATS, &attributes) < 0) {
		perror("BPF_ENABLE_STATS");
		return 1;
	}
	while (read(0, &byte, 1) > 0) {
		for (int i = 1; i < argc; i++)
			if (show(strtoul(argv[i], NULL, 10)) < 0) {
				perror(argv[i]);
				return 1;
			}
		if (write(1, "\n", 1) != 1)
			return 1;
	}
	return 0;
}
