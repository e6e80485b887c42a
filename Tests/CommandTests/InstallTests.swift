import TestSupport
import Testing

@Suite("make install", .requiresPrograms("make", "python3", "ldd"))
struct InstallTests {
  static let built = Project.file(".build/release/vhdfs")

  /// Into a directory of its own, from the program that `make build` left.
  @Test(.enabled(if: fileExists(built), "make build was not run"))
  func whatIsInstalledRunsWithoutSwift() throws {
    let root = try TemporaryDirectory()
    try runChecked(
      [
        "make", "-C", Project.file(""), "-o", ".build/release/vhdfs", "install", "PREFIX=/usr",
        "DESTDIR=\(root.path)",
      ], timeout: 120)
    let program = root.file("usr/bin/vhdfs")
    let libraries = try runChecked(["ldd", program])
    #expect(!libraries.contains("swift"), "\(libraries)")
    #expect(!libraries.contains("Foundation"), "\(libraries)")
    #expect(!libraries.contains("not found"), "\(libraries)")
    #expect(try runChecked(["env", "-i", program, "--version"]).hasPrefix("vhdfs "))
    for name in ["mount.vhdfs", "mount.fuse.vhdfs", "umount.fuse.vhdfs"] {
      #expect(try runChecked(["readlink", root.file("sbin/\(name)")]) == "/usr/bin/vhdfs\n")
    }
    for name in [
      "man/man1/vhdfs.1", "man/man1/vhdfs-mount.1", "bash-completion/completions/vhdfs",
      "zsh/site-functions/_vhdfs", "fish/vendor_completions.d/vhdfs.fish", "doc/vhdfs/README.md",
      "doc/vhdfs/exit-status.md",
    ] {
      #expect(try sizes(of: root.file("usr/share/\(name)")).size > 0, "\(name)")
    }
  }
}
