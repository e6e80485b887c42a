#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>

/* Some versions of libfuse make fuse_session_new a macro, which Swift cannot call. */
static inline struct fuse_session *cfuse_session_new(
    struct fuse_args *args, const struct fuse_lowlevel_ops *operations, size_t size, void *userdata) {
  return fuse_session_new(args, operations, size, userdata);
}
