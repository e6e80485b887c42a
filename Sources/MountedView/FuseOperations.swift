import CFuse
import Glibc
import Storage

/// The table of functions that libfuse calls, each handed on to the server behind the request.
enum FuseOperations {
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    table.`init` = { _, connection in
      guard let connection else { return }
      FuseOperations.configure(&connection.pointee)
    }
    addTransfers(&table)
    addFiles(&table)
    addNames(&table)
    return table
  }

  private static func configure(_ connection: inout fuse_conn_info) {
    let transfer = UInt32(ReceiveBuffers.largestTransfer)
    connection.max_write = transfer
    connection.max_read = transfer
    // The default of 12 keeps direct I/O at depth from reaching the server.
    connection.max_background = 128
    connection.congestion_threshold = 96
    // O_TRUNC must reach OPEN, where it is passed over as a block device does. No splice: copying is faster.
    // No write-back cache: the kernel would delay writes and own the size.
    let wanted = UInt32(
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS
        | FUSE_CAP_HANDLE_KILLPRIV)
    connection.want = connection.capable & wanted
  }

  private static func addTransfers(_ table: inout fuse_lowlevel_ops) {
    table.read = { pointer, _, size, offset, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information, offset >= 0 else { return request.fail(EINVAL) }
        server.read(request, handle: information.pointee.fh, offset: UInt64(offset), length: size)
      }
    }
    table.write = { pointer, _, bytes, size, offset, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information, let bytes, offset >= 0 else { return request.fail(EINVAL) }
        server.write(
          request, handle: information.pointee.fh, bytes: UnsafeRawBufferPointer(start: bytes, count: size),
          offset: UInt64(offset), synchronous: information.pointee.flags & (O_DSYNC | O_SYNC) != 0)
      }
    }
    table.lseek = { pointer, _, offset, whence, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information, offset >= 0 else { return request.fail(EINVAL) }
        server.seek(request, handle: information.pointee.fh, offset: UInt64(offset), whence: whence)
      }
    }
    table.fallocate = { pointer, _, mode, offset, length, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information, offset >= 0, length > 0 else { return request.fail(EINVAL) }
        server.allocate(
          request, handle: information.pointee.fh, mode: mode, offset: UInt64(offset), length: UInt64(length))
      }
    }
  }

  private static func addFiles(_ table: inout fuse_lowlevel_ops) {
    table.open = { pointer, number, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.open(request, NodeNumber(rawValue: number), flags: information.pointee.flags)
      }
    }
    table.release = { pointer, _, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.release(request, handle: information.pointee.fh)
      }
    }
    table.flush = { pointer, _, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.flush(request, handle: information.pointee.fh)
      }
    }
    table.fsync = { pointer, _, _, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.synchronize(request, handle: information.pointee.fh)
      }
    }
  }

  private static func addNames(_ table: inout fuse_lowlevel_ops) {
    table.lookup = { pointer, parent, name in
      FuseOperations.serve(pointer) { server, request in
        guard let name, let text = String(validatingCString: name) else { return request.fail(ENOENT) }
        server.lookup(request, in: NodeNumber(rawValue: parent), name: text)
      }
    }
    table.forget = { pointer, number, count in
      FuseOperations.serve(pointer) { server, request in
        server.tree.forget(NodeNumber(rawValue: number), count)
        fuse_reply_none(request.pointer)
      }
    }
    table.forget_multi = { pointer, count, list in
      FuseOperations.serve(pointer) { server, request in
        if let list {
          for item in UnsafeBufferPointer(start: list, count: count) {
            server.tree.forget(NodeNumber(rawValue: item.ino), item.nlookup)
          }
        }
        fuse_reply_none(request.pointer)
      }
    }
    addChangesOfNames(&table)
    table.getattr = { pointer, number, _ in
      FuseOperations.serve(pointer) { server, request in
        server.showAttributes(request, NodeNumber(rawValue: number))
      }
    }
    table.setattr = { pointer, number, wanted, changes, _ in
      FuseOperations.serve(pointer) { server, request in
        server.setAttributes(
          request, NodeNumber(rawValue: number), changes: changes,
          size: UInt64(clamping: wanted?.pointee.st_size ?? 0))
      }
    }
    table.opendir = { pointer, number, _ in
      FuseOperations.serve(pointer) { server, request in
        server.openDirectory(request, NodeNumber(rawValue: number))
      }
    }
    table.readdir = { pointer, _, size, offset, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.readDirectory(request, handle: information.pointee.fh, size: size, offset: Int(offset))
      }
    }
    table.releasedir = { pointer, _, information in
      FuseOperations.serve(pointer) { server, request in
        guard let information else { return request.fail(EINVAL) }
        server.releaseDirectory(request, handle: information.pointee.fh)
      }
    }
    table.statfs = { pointer, _ in
      FuseOperations.serve(pointer) { server, request in server.showFileSystem(request) }
    }
  }

  /// Directories are made and removed in `points`; nothing else has a name that can be given or taken.
  private static func addChangesOfNames(_ table: inout fuse_lowlevel_ops) {
    table.mkdir = { pointer, parent, name, _ in
      FuseOperations.serve(pointer) { server, request in
        let text = name.flatMap { String(validatingCString: $0) }
        server.makeDirectory(request, in: NodeNumber(rawValue: parent), name: text)
      }
    }
    table.rmdir = { pointer, parent, name in
      FuseOperations.serve(pointer) { server, request in
        let text = name.flatMap { String(validatingCString: $0) }
        server.removeDirectory(request, in: NodeNumber(rawValue: parent), name: text)
      }
    }
    // Not permitted, rather than unknown (ENOSYS), which some programs take for a reason to try another way.
    table.unlink = { pointer, _, _ in FuseOperations.serve(pointer) { $1.fail(EPERM) } }
    table.rename = { pointer, _, _, _, _, _ in FuseOperations.serve(pointer) { $1.fail(EPERM) } }
    table.mknod = { pointer, _, _, _, _ in FuseOperations.serve(pointer) { $1.fail(EPERM) } }
    table.symlink = { pointer, _, _, _ in FuseOperations.serve(pointer) { $1.fail(EPERM) } }
    table.link = { pointer, _, _, _ in FuseOperations.serve(pointer) { $1.fail(EPERM) } }
  }

  /// The server behind a request, without counting a reference: it outlives the session.
  @inline(__always)
  private static func serve(_ pointer: fuse_req_t?, _ body: (Server, Request) -> Void) {
    guard let pointer, let userdata = fuse_req_userdata(pointer) else { return }
    Unmanaged<Server>.fromOpaque(userdata)._withUnsafeGuaranteedRef { body($0, Request(pointer)) }
  }
}
