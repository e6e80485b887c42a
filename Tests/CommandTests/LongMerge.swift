import Glibc
import TestSupport

/// A chain whose child holds so much that its merge takes a moment: what tests of jobs and of progress work with.
final class LongMerge {
  let space: Workspace
  static let bytes: UInt64 = 768 << 20

  init() throws {
    space = try Workspace()
    try space.create("base.vhdx", "--size", "4G")
    try space.create("child.vhdx", "--parent", space.image("base.vhdx"))
    let mount = try space.mount()
    do {
      let disk = try OpenFile(mount.file("child.vhdx"), O_RDWR)
      let piece = pattern(seed: 7, count: 4 << 20)
      for offset in stride(from: 0, to: LongMerge.bytes, by: piece.count) {
        try disk.write(piece, at: offset)
      }
    }
    try mount.unmount()
  }

  var child: String { space.image("child.vhdx") }
}

/// Writes a line to a file; throws where that fails.
func order(_ line: String, _ file: String) throws {
  let file = try OpenFile(file, O_WRONLY)
  try file.write(Array("\(line)\n".utf8), at: 0)
}
