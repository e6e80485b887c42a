#define _GNU_SOURCE
#include "LinuxSystem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

ssize_t linux_pread_nowait(int fd, void *buffer, size_t length, off_t offset) {
  struct iovec vector = {buffer, length};
  return preadv2(fd, &vector, 1, offset, RWF_NOWAIT);
}

ssize_t linux_pwrite_nowait(int fd, const void *buffer, size_t length, off_t offset) {
  struct iovec vector = {(void *)buffer, length};
  return pwritev2(fd, &vector, 1, offset, RWF_NOWAIT);
}

int linux_open_beneath(int directory, const char *path, int flags) {
  struct open_how how;
  memset(&how, 0, sizeof how);
  how.flags = (uint64_t)(flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

int linux_punch_hole(int fd, off_t offset, off_t length) {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int linux_zero_range(int fd, off_t offset, off_t length) {
  return fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
}

int linux_allocate(int fd, off_t offset, off_t length) { return fallocate(fd, 0, offset, length); }

void linux_start_writing(int fd, off_t offset, off_t length) {
  (void)sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

off_t linux_seek_data(int fd, off_t offset) { return lseek(fd, offset, SEEK_DATA); }

off_t linux_seek_hole(int fd, off_t offset) { return lseek(fd, offset, SEEK_HOLE); }

int linux_lock_set(int fd, short type, off_t byte) {
  struct flock lock;
  memset(&lock, 0, sizeof lock);
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock);
}

int linux_lock_is_held(int fd, off_t byte) {
  struct flock lock;
  memset(&lock, 0, sizeof lock);
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return -1;
  return lock.l_type == F_UNLCK ? 0 : 1;
}

int linux_unmount(const char *path, int flags) { return umount2(path, flags); }

void linux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int linux_signal_descriptor(const int *signals, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int index = 0; index < count; index++) sigaddset(&set, signals[index]);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int linux_take_signal(int descriptor) {
  struct signalfd_siginfo information;
  if (read(descriptor, &information, sizeof information) != (ssize_t)sizeof information) return 0;
  return (int)information.ssi_signo;
}

int linux_event_descriptor(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void linux_add_event(int descriptor, uint64_t number) { (void)!write(descriptor, &number, sizeof number); }

uint64_t linux_take_events(int descriptor) {
  uint64_t number = 0;
  return read(descriptor, &number, sizeof number) == (ssize_t)sizeof number ? number : 0;
}

int linux_open_unnamed(const char *directory, mode_t mode) {
  return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
}

int linux_rename_without_replacing(const char *old_path, const char *new_path) {
  return renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, RENAME_NOREPLACE);
}

static socklen_t abstract_address(struct sockaddr_un *address, const char *name) {
  size_t length = strlen(name);
  memset(address, 0, sizeof *address);
  if (length > sizeof address->sun_path - 1) length = sizeof address->sun_path - 1;
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path + 1, name, length);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static int failed_socket(int descriptor, int code) {
  close(descriptor);
  errno = code;
  return -1;
}

int linux_listen(const char *name) {
  struct sockaddr_un address;
  socklen_t length = abstract_address(&address, name);
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -1;
  if (bind(descriptor, (struct sockaddr *)&address, length) != 0 || listen(descriptor, 16) != 0)
    return failed_socket(descriptor, errno);
  return descriptor;
}

int linux_accept_from(int socket, unsigned user) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  int descriptor = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
  if (descriptor < 0) return -1;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return failed_socket(descriptor, errno);
  if (peer.uid != 0 && peer.uid != user) return failed_socket(descriptor, EACCES);
  return descriptor;
}

int linux_connect_to(const char *name, int process) {
  struct sockaddr_un address;
  socklen_t length = abstract_address(&address, name);
  struct ucred peer;
  socklen_t peer_length = sizeof peer;
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return -1;
  if (connect(descriptor, (struct sockaddr *)&address, length) != 0 ||
      getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) != 0)
    return failed_socket(descriptor, errno);
  if (peer.pid != process) return failed_socket(descriptor, EACCES);
  return descriptor;
}

int linux_open_process(int process) { return (int)syscall(SYS_pidfd_open, process, 0); }

void linux_close_from(int first) { (void)syscall(SYS_close_range, (unsigned)first, ~0U, 0U); }

int linux_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -1;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit);
}
