/* System calls and constants that Glibc's Swift overlay does not offer: calls with GNU extensions, and calls newer
   than the C library. Each wrapper is a single call; errors are errno's. Only plain types stand here, because this
   header must not define _GNU_SOURCE where Swift imports it. */
#ifndef LINUX_SYSTEM_H
#define LINUX_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* pread that fails with EAGAIN rather than wait for the medium, or with EOPNOTSUPP where the host file system
   cannot promise that. */
ssize_t linux_pread_nowait(int fd, void *buffer, size_t length, off_t offset);

ssize_t linux_pwrite_nowait(int fd, const void *buffer, size_t length, off_t offset);

/* Opens a path beneath directory without following any link, and never a file that would block or act as a
   terminal. */
int linux_open_beneath(int directory, const char *path, int flags);

int linux_punch_hole(int fd, off_t offset, off_t length);

int linux_zero_range(int fd, off_t offset, off_t length);

int linux_allocate(int fd, off_t offset, off_t length);

/* Asks the host to begin writing the range out; a hint, of which no error is told. */
void linux_start_writing(int fd, off_t offset, off_t length);

off_t linux_seek_data(int fd, off_t offset);

off_t linux_seek_hole(int fd, off_t offset);

/* Open file description locks: type is F_RDLCK, F_WRLCK or F_UNLCK, on one byte. Returns 0, or -1 with errno. */
int linux_lock_set(int fd, short type, off_t byte);

/* 1 when another open file description holds a lock that excludes a write lock on the byte, 0 when none does,
   -1 with errno otherwise. */
int linux_lock_is_held(int fd, off_t byte);

/* umount2(2); flags: 2 lazily, 8 never through a link. */
int linux_unmount(const char *path, int flags);

/* Names the calling thread, as the system's tools show it; at most 15 bytes. */
void linux_name_thread(const char *name);

/* A descriptor that is readable when one of the signals, which all threads must block, has come; and the next of
   them, or 0 when none has. */
int linux_signal_descriptor(const int *signals, int count);
int linux_take_signal(int descriptor);

/* A descriptor that is readable when a number was added to it; and the sum so far, or 0, which it takes away. */
int linux_event_descriptor(void);
void linux_add_event(int descriptor, uint64_t number);
uint64_t linux_take_events(int descriptor);

/* A new file in the directory that has no name yet, and is gone with its last descriptor unless it is given one. */
int linux_open_unnamed(const char *directory, mode_t mode);

/* Fails with EEXIST where new_path exists, and with EINVAL where the file system cannot promise that. */
int linux_rename_without_replacing(const char *old_path, const char *new_path);

/* A listening socket with an abstract name (no file); and the next connection to it, if it is of the user or of root
   (else it is closed); and a connection to one that `process` made. -1 with errno where that cannot be had. */
int linux_listen(const char *name);
int linux_accept_from(int socket, unsigned user);
int linux_connect_to(const char *name, int process);

/* Asks for as many descriptors as the process may have (the hard limit). 0, or -1 with errno. */
int linux_raise_descriptor_limit(void);

/* Closes every descriptor from `first` on. */
void linux_close_from(int first);

/* A descriptor that is readable when the process has ended. */
int linux_open_process(int process);

#endif
