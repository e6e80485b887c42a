import Foundation
import Storage
import Testing

/// The folder of test images: named by VHDFS_CORPUS, else `../shared/corpus` beside the package.
enum Corpus {
  static let folder: String? = {
    if let named = ProcessInfo.processInfo.environment["VHDFS_CORPUS"] { return named }
    var directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    while directory.path != "/" {
      if FileManager.default.fileExists(atPath: directory.appendingPathComponent("Package.swift").path) {
        let corpus = directory.deletingLastPathComponent().appendingPathComponent("shared/corpus").path
        return FileManager.default.fileExists(atPath: corpus + "/images.tsv") ? corpus : nil
      }
      directory.deleteLastPathComponent()
    }
    return nil
  }()

  static var isThere: Bool {
    if folder == nil {
      print("the corpus is missing: its tests are skipped; name its folder in VHDFS_CORPUS")
    }
    return folder != nil
  }

  struct Image: Sendable, CustomTestStringConvertible {
    var path: String
    var size: UInt64?
    var sha256: String?
    var zsum: String?
    var parents: [String]
    var expectation: String
    var testDescription: String { path }
  }

  /// The VHD images of `images.tsv`.
  static let images: [Image] = {
    guard let folder, let table = try? String(contentsOfFile: folder + "/images.tsv", encoding: .utf8) else {
      return []
    }
    return table.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard fields.count >= 6 else { return nil }
      let path = fields[0].hasSuffix(".zst") ? String(fields[0].dropLast(4)) : fields[0]
      guard path.hasSuffix(".vhd") || path.hasSuffix(".avhd") || path.hasSuffix("afl5.img") else {
        return nil
      }
      func known(_ field: String) -> String? { field == "-" || field.isEmpty ? nil : field }
      return Image(
        path: path, size: UInt64(fields[1]), sha256: known(fields[2]), zsum: known(fields[3]),
        parents: known(fields[4]).map { $0.split(separator: ",").map(String.init) } ?? [],
        expectation: fields[5])
    }
  }()

  static var readable: [Image] { images.filter { $0.zsum != nil } }
  static var hostile: [Image] {
    images.filter { $0.path.hasPrefix("hostile/") || $0.path.hasSuffix("afl5.img") }
  }

  /// Unpacks one image into `directory`, under its bare name; returns its path.
  static func unpack(_ path: String, into directory: TemporaryDirectory) throws -> String {
    let source = try #require(folder) + "/" + path
    let target = directory.path + "/" + (path.split(separator: "/").last.map(String.init) ?? path)
    if FileManager.default.fileExists(atPath: source + ".zst") {
      try run("zstd", "-q", "-d", "-f", "--sparse", source + ".zst", "-o", target)
    } else {
      try FileManager.default.copyItem(atPath: source, toPath: target)
    }
    return target
  }
}

/// A directory that vanishes with this object.
final class TemporaryDirectory: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "vhdfs-vhd-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }
}

struct CommandFailed: Error, CustomStringConvertible {
  var description: String
}

/// Whether a program is installed.
func isInstalled(_ program: String) -> Bool {
  (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
    FileManager.default.isExecutableFile(atPath: "\($0)/\(program)")
  }
}

/// Runs a program and returns its output; throws with it when the exit status is not 0.
@discardableResult
func run(_ command: String..., input: Data? = nil) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = command
  let (output, feed) = (Pipe(), Pipe())
  process.standardOutput = output
  process.standardError = output
  process.standardInput = feed
  try process.run()
  if let input { try feed.fileHandleForWriting.write(contentsOf: input) }
  try feed.fileHandleForWriting.close()
  let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  guard process.terminationStatus == 0 else {
    throw CommandFailed(description: "\(command) ended with \(process.terminationStatus): \(text)")
  }
  return text
}

/// Computes a SHA-256 by the program `sha256sum`, fed piece by piece.
final class SHA256Stream {
  private let process = Process()
  private let feed = Pipe()
  private let output = Pipe()

  init() throws {
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["sha256sum"]
    process.standardInput = feed
    process.standardOutput = output
    try process.run()
  }

  func update(_ bytes: [UInt8]) throws {
    try feed.fileHandleForWriting.write(contentsOf: Data(bytes))
  }

  func finish() throws -> String {
    try feed.fileHandleForWriting.close()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return String(text.prefix(64))
  }
}
