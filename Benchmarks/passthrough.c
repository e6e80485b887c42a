/* The yardstick of the benchmarks: the least that a FUSE server on libfuse can do.
 *
 *   passthrough [-r] BACKING_FILE MOUNTPOINT
 *
 * shows BACKING_FILE as MOUNTPOINT/disk and serves it in the foreground until it is unmounted or gets SIGTERM.
 * One thread, the low-level API, pread into one reused page-aligned buffer, direct I/O and parallel direct writes.
 * It keeps no state, checks nothing and has no error handling beyond passing errno on: nothing that serves the
 * same requests through libfuse can be expected to be faster.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { disk_inode = 2, largest_request = 1 << 20 };

static int backing = -1;
static off_t size;
static char *buffer;
static char const name[] = "disk";

static void init(void *userdata, struct fuse_conn_info *connection)
{
    (void)userdata;
    connection->max_write = largest_request;
    connection->max_readahead = largest_request;
    connection->max_background = 64;
    connection->congestion_threshold = 48;
    connection->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE
                          | FUSE_CAP_WRITEBACK_CACHE);
    if (connection->capable & FUSE_CAP_ATOMIC_O_TRUNC)
        connection->want |= FUSE_CAP_ATOMIC_O_TRUNC;
}

static int attributes(fuse_ino_t inode, struct stat *result)
{
    memset(result, 0, sizeof *result);
    result->st_ino = inode;
    if (inode == FUSE_ROOT_ID) {
        result->st_mode = S_IFDIR | 0700;
        result->st_nlink = 2;
    } else if (inode == disk_inode) {
        result->st_mode = S_IFREG | 0600;
        result->st_nlink = 1;
        result->st_size = size;
        result->st_blksize = 4096;
    } else {
        return ENOENT;
    }
    return 0;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *wanted)
{
    struct fuse_entry_param entry = {.ino = disk_inode, .attr_timeout = 60, .entry_timeout = 60};
    if (parent != FUSE_ROOT_ID || strcmp(wanted, name) != 0) {
        fuse_reply_err(request, ENOENT);
        return;
    }
    attributes(disk_inode, &entry.attr);
    fuse_reply_entry(request, &entry);
}

static void get_attributes(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)file;
    struct stat status;
    int error = attributes(inode, &status);
    if (error)
        fuse_reply_err(request, error);
    else
        fuse_reply_attr(request, &status, 60);
}

static void set_attributes(fuse_req_t request, fuse_ino_t inode, struct stat *status, int which,
                           struct fuse_file_info *file)
{
    (void)status;
    if (which & FUSE_SET_ATTR_SIZE)
        fuse_reply_err(request, EPERM);
    else
        get_attributes(request, inode, file);
}

static void read_directory(fuse_req_t request, fuse_ino_t inode, size_t length, off_t offset,
                           struct fuse_file_info *file)
{
    (void)file;
    char entries[128];
    struct stat status;
    size_t used = 0;
    if (inode == FUSE_ROOT_ID && offset == 0) {
        attributes(disk_inode, &status);
        used = fuse_add_direntry(request, entries, sizeof entries, name, &status, 1);
    }
    fuse_reply_buf(request, entries, used <= length ? used : 0);
}

/* libfuse 3.14 has no field for parallel direct writes, so the reply is written as the kernel reads it. */
static void open_file(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    struct fuse_open_out reply = {.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES};
    fuse_reply_buf(request, (char const *)&reply, sizeof reply);
}

static void read_file(fuse_req_t request, fuse_ino_t inode, size_t length, off_t offset,
                      struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    ssize_t count = pread(backing, buffer, length < largest_request ? length : largest_request, offset);
    if (count < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_buf(request, buffer, (size_t)count);
}

static void write_file(fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t length, off_t offset,
                       struct fuse_file_info *file)
{
    (void)inode;
    ssize_t count = pwrite(backing, bytes, length, offset);
    if (count >= 0 && (file->flags & O_DSYNC) && fdatasync(backing) != 0)
        count = -1;
    if (count < 0)
        fuse_reply_err(request, errno);
    else
        fuse_reply_write(request, (size_t)count);
}

static void sync_file(fuse_req_t request, fuse_ino_t inode, int data_only, struct fuse_file_info *file)
{
    (void)inode;
    (void)data_only;
    (void)file;
    fuse_reply_err(request, fdatasync(backing) == 0 ? 0 : errno);
}

static void release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode;
    (void)file;
    fuse_reply_err(request, 0);
}

static struct fuse_lowlevel_ops const operations = {
    .init = init,
    .lookup = lookup,
    .getattr = get_attributes,
    .setattr = set_attributes,
    .readdir = read_directory,
    .open = open_file,
    .read = read_file,
    .write = write_file,
    .fsync = sync_file,
    .release = release,
};

int main(int count, char **words)
{
    int read_only = count > 1 && strcmp(words[1], "-r") == 0;
    if (count != 3 + read_only) {
        fprintf(stderr, "usage: %s [-r] BACKING_FILE MOUNTPOINT\n", words[0]);
        return 64;
    }
    const char *path = words[1 + read_only], *mountpoint = words[2 + read_only];
    struct stat status;
    backing = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (backing < 0 || fstat(backing, &status) != 0) {
        perror(path);
        return 1;
    }
    size = status.st_size;
    buffer = aligned_alloc(4096, largest_request);
    if (buffer == NULL) {
        perror("aligned_alloc");
        return 1;
    }

    struct fuse_args arguments = FUSE_ARGS_INIT(0, NULL);
    fuse_opt_add_arg(&arguments, words[0]);
    fuse_opt_add_arg(&arguments, read_only ? "-oro,fsname=passthrough" : "-ofsname=passthrough");
    struct fuse_session *session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
    if (session == NULL || fuse_set_signal_handlers(session) != 0)
        return 1;
    if (fuse_session_mount(session, mountpoint) != 0)
        return 1;
    int result = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_remove_signal_handlers(session);
    fuse_session_destroy(session);
    fuse_opt_free_args(&arguments);
    return result < 0 ? 1 : 0;
}
