#define _GNU_SOURCE
#include "TestSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/uio.h>

int test_spawn(pid_t *child, char *const words[], char *const variables[], const char *directory, int input, int output,
               int errors)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigemptyset(&none);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, input, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, errors, 2);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    if (!error && directory)
        error = posix_spawn_file_actions_addchdir_np(&actions, directory);
    if (!error)
        error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    if (!error)
        error = posix_spawnattr_setpgroup(&attributes, 0);
    if (!error)
        error = posix_spawnattr_setsigmask(&attributes, &none);
    if (!error)
        error = posix_spawnp(child, words[0], &actions, &attributes, words, variables);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

ssize_t test_pwrite_durably(int fd, const void *bytes, size_t length, off_t offset)
{
    struct iovec vector = {.iov_base = (void *)bytes, .iov_len = length};
    return pwritev2(fd, &vector, 1, offset, RWF_DSYNC);
}

int test_open_special(const char *path, int special)
{
    return open(path, O_RDWR | O_CLOEXEC | (special & TEST_OPEN_SYNC ? O_SYNC : 0)
                          | (special & TEST_OPEN_DSYNC ? O_DSYNC : 0) | (special & TEST_OPEN_DIRECT ? O_DIRECT : 0));
}
