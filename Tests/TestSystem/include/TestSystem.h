/* System calls that tests need and Glibc's Swift overlay does not offer. Each returns 0 or a count, or -1 with errno,
   unless it says otherwise. */
#ifndef TEST_SYSTEM_H
#define TEST_SYSTEM_H

#include <stddef.h>
#include <sys/types.h>

/* Starts a program found in PATH, in a new process group, with the three descriptors as its only open files and, where
   directory is not null, in that directory. Returns 0 with the process in *child, or an errno. */
int test_spawn(pid_t *child, char *const words[], char *const variables[], const char *directory, int input, int output,
               int errors);

/* A write of which the call itself asks that it be durable (RWF_DSYNC). */
ssize_t test_pwrite_durably(int fd, const void *bytes, size_t length, off_t offset);

enum { TEST_OPEN_SYNC = 1, TEST_OPEN_DSYNC = 2, TEST_OPEN_DIRECT = 4 };

/* Opens for reading and writing with O_SYNC, O_DSYNC and O_DIRECT, whose values differ between machines. */
int test_open_special(const char *path, int special);

#endif
