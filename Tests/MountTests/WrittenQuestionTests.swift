import Glibc
import TestSupport
import Testing

extension MountTests {
  /// A question that is written and an answer that is read on one descriptor, from several languages.
  @Suite struct WrittenQuestionTests {
    private func mount() throws -> (VhdfsMount, control: String) {
      let workspace = try Workspace()
      try workspace.create("a.vhdx", "--size", "32M")
      try Vhdfs.runChecked(["tracking", workspace.image("a.vhdx"), "on"])
      try Vhdfs.runChecked(["point", "create", workspace.image("a.vhdx"), "p"])
      let mount = try workspace.mount()
      let disk = try OpenFile(mount.file("a.vhdx"), O_RDWR)
      try disk.write(pattern(seed: 1, count: 4096), at: 8192)
      return (mount, mount.file("a.vhdx", "control"))
    }

    private let expected = "8192 4096\n# processed 33554432\n"

    @Test(.requiresPrograms("bash"))
    func fromBash() throws {
      let (mount, control) = try mount()
      let script = "exec 3<>\"$1/changes\"; echo 'limit=p' >&3; cat <&3"
      #expect(try runChecked(["bash", "-c", script, "bash", control]).hasSuffix(expected))
      let wrong = try run(["bash", "-c", "exec 3<>\"$1/changes\"; echo 'limit=q' >&3", "bash", control])
      #expect(wrong.status != 0 && wrong.errors.contains("No such device or address"), "\(wrong.summary)")
      try mount.unmount()
    }

    @Test(.requiresPrograms("python3"))
    func fromPython() throws {
      let (mount, control) = try mount()
      let script = """
        import os, sys, errno
        f = os.open(sys.argv[1] + '/changes', os.O_RDWR)
        try:
            os.read(f, 10); sys.exit('read without a question')
        except OSError as e:
            assert e.errno == errno.EINVAL
        os.write(f, b'limit=p')
        first = os.read(f, 10000)
        os.lseek(f, 0, 0)
        os.write(f, b'limit=p&offset=8193&length=1\\n')
        os.lseek(f, 0, 0)
        assert os.read(f, 10000).endswith(b'8193 1\\n# processed 1\\n')
        for question, code in ((b'limit=', errno.EINVAL), (b'limit=q', errno.ENXIO), (b'x' * 5000, errno.EINVAL)):
            try:
                os.write(f, question); sys.exit('no error')
            except OSError as e:
                assert e.errno == code, (question, e)
        sys.stdout.write(first.decode())
        """
      #expect(try runChecked(["python3", "-c", script, control]).hasSuffix(expected))
      try mount.unmount()
    }

    /// Read in small steps, and again from the front.
    @Test func readInPieces() throws {
      let (mount, control) = try mount()
      do {
        let file = try OpenFile("\(control)/changes", O_RDWR)
        try file.write(Array("limit=p".utf8), at: 0)
        let whole = try file.read(at: 7, count: 10_000)
        #expect(String(decoding: whole, as: UTF8.self).hasSuffix(expected))
        var again: [UInt8] = []
        while let piece = try? file.read(at: UInt64(7 + again.count), count: 3), !piece.isEmpty {
          again += piece
        }
        #expect(again == whole)
        #expect(try file.read(at: 7, count: 10_000) == whole)
      }
      try mount.unmount()
    }

    /// An order on one descriptor after the other, and the state read back.
    @Test func ordersAndTheStateThatFollows() throws {
      let (mount, control) = try mount()
      do {
        let file = try OpenFile("\(control)/tracking", O_RDWR)
        try file.write(Array("off".utf8), at: 0)
        #expect(String(decoding: try file.read(at: 3, count: 1000), as: UTF8.self).hasPrefix("state off\n"))
      }
      // What tells one file from another stays the same, or cp would refuse to copy it.
      let copy = "\(mount.path).copy"
      defer { unlink(copy) }
      try runChecked(["cp", "\(control)/tracking", copy])
      #expect(try textOfFile(copy).hasPrefix("state off\n"))
      try mount.unmount()
    }
  }
}
