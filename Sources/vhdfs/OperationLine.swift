import Glibc
import ImageManagement
import Storage
import SystemPackage

/// A shell's command that does in a mount what a command of this program was asked to do.
///
/// What it prints goes to a terminal: no control byte is in it, whatever the names hold.
struct OperationLine {
  private let line: String

  /// - Parameters:
  ///   - words: the command's; a path in them is the user's.
  ///   - image: as the user named it. A control file takes paths relative to its directory.
  init(_ words: OperationWords, image: String) {
    var words = words
    if let path = (try? words.take(key: "into")) ?? nil {
      words.add("into", OperationLine.relative(path, toDirectoryOf: image) ?? path)
    }
    line = words.line
  }

  /// `echo full dry-run > /mnt/a.vhdx/control/compact`
  func command(file: FilePath) -> String {
    let target = OperationLine.quoted(file.string)
    if line.isEmpty { return "echo > \(target)" }
    // What `echo` makes of a backslash depends on the shell.
    let program = line.contains("\\") ? "printf '%s\\n' " : "echo "
    return program + OperationLine.quoted(line, allowing: " ") + " > " + target
  }

  /// One word of a shell. The form for what is not printable is that of bash, ksh and zsh.
  private static func quoted(_ text: String, allowing more: String = "") -> String {
    let plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./=+:,@%-" + more
    if !text.isEmpty, text.allSatisfy(plain.contains) { return text }
    let isPrintable = escapedSentence(text) == text
    let bytes = (isPrintable ? text : escaped(text)).utf8.flatMap { byte in
      byte == UInt8(ascii: "'") ? Array((isPrintable ? "'\\''" : "\\'").utf8) : [byte]
    }
    return (isPrintable ? "'" : "$'") + String(decoding: bytes, as: UTF8.self) + "'"
  }

  /// Nil where one of both is not there.
  private static func relative(_ path: String, toDirectoryOf image: String) -> String? {
    guard let target = resolved(path), let own = resolved(image) else { return nil }
    let from = own.removingLastComponent().components.map(\.string)
    let to = target.components.map(\.string)
    let common = zip(from, to.dropLast()).prefix { $0 == $1 }.count
    return (Array(repeating: "..", count: from.count - common) + to[common...]).joined(separator: "/")
  }

  private static func resolved(_ path: String) -> FilePath? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return FilePath(String(cString: resolved))
  }
}
