import Glibc
import Testing

/// The collection of images made by others, which lies outside this package: where VHDFS_CORPUS says, else in
/// `shared/corpus` beside the package. Tests that need it are skipped where it is missing.
public enum Corpus {
  /// Where it lies, or nil.
  public static let directory: String? = {
    if let named = getenv("VHDFS_CORPUS").map({ String(cString: $0) }) {
      return fileExists("\(named)/images.tsv") ? named : nil
    }
    var folder = Substring(#filePath)
    while let slash = folder.lastIndex(of: "/") {
      folder = folder[..<slash]
      let candidate = "\(folder)/shared/corpus"
      if fileExists("\(candidate)/images.tsv") { return candidate }
    }
    return nil
  }()

  /// Why tests that need it are skipped.
  public static let missing = "the image corpus is missing: set VHDFS_CORPUS to the folder with images.tsv"

  /// The rows of images.tsv; empty where it is missing.
  public static let images: [CorpusImage] = {
    guard let directory, let text = try? textOfFile("\(directory)/images.tsv") else { return [] }
    return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.compactMap { CorpusImage(row: $0) }
  }()

  /// Unpacks what is stored (and the files named beside it) into a new directory, under the same folders, sparse;
  /// returns the path of the first.
  public static func unpack(_ stored: [String], into destination: String) throws {
    guard let directory else { throw TestFailure(missing) }
    for name in stored {
      let target = "\(destination)/\(unpackedName(name))"
      guard !fileExists(target) else { continue }
      try runChecked(["mkdir", "-p", String(target[..<(target.lastIndex(of: "/") ?? target.startIndex)])])
      if name.hasSuffix(".zst") {
        try runChecked(
          ["zstd", "-q", "-d", "-f", "--sparse", "\(directory)/\(name)", "-o", target], timeout: 300)
        chmod(target, 0o644)
      } else {
        try runChecked(["cp", "--no-preserve=mode", "\(directory)/\(name)", target])
      }
    }
  }

  /// Everything, once per run of the tests, for tests that do not write: the directory is theirs together.
  public static func unpacked() throws -> String { try shared.get().path }

  private static let shared: Result<TemporaryDirectory, any Error> = Result {
    let destination = try TemporaryDirectory()
    let stored = try storedFiles()
    try unpack(stored, into: destination.path)
    atexitRemove(destination.path)
    return destination
  }

  /// Every file of the collection but its descriptions, as paths below it.
  public static func storedFiles() throws -> [String] {
    guard let directory else { throw TestFailure(missing) }
    let listing = try runChecked(["find", "real", "made", "hostile", "-type", "f"], directory: directory)
    return listing.split(separator: "\n").map(String.init).sorted()
  }

  public static func unpackedName(_ stored: String) -> String {
    stored.hasSuffix(".zst") ? String(stored.dropLast(4)) : stored
  }
}

/// One row of images.tsv.
public struct CorpusImage: Sendable, CustomTestStringConvertible, CustomStringConvertible {
  public enum Expectation: String, Sendable {
    /// Contents as given.
    case read
    /// Contents as given are those of one sensible choice.
    case policy
    /// Must be refused.
    case refused = "hostile R"
    /// Opens at least read-only.
    case recoverable = "hostile D"
    /// May open; reads of the damaged range fail.
    case readError = "hostile E"
    /// Either is defensible.
    case choice = "hostile P"
    /// A helper file.
    case helper = "hostile -"
    case note = "see note"
  }

  /// As stored, below the corpus, and as unpacked.
  public var stored: String
  public var path: String { Corpus.unpackedName(stored) }
  public var name: String { path.split(separator: "/").last.map(String.init) ?? path }
  /// Bytes of the disk.
  public var virtualSize: UInt64?
  public var sha256: String?
  public var sparseSum: String?
  /// Nearest first, as unpacked.
  public var parents: [String]
  public var expectation: Expectation
  public var note: String

  init?(row: Substring) {
    let columns = row.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    guard columns.count >= 8, let expectation = Expectation(rawValue: columns[5]) else { return nil }
    stored = columns[0]
    virtualSize = UInt64(columns[1])
    sha256 = columns[2] == "-" ? nil : columns[2]
    sparseSum = columns[3] == "-" ? nil : columns[3]
    parents =
      columns[4] == "-" ? [] : columns[4].split(separator: ",").map { Corpus.unpackedName(String($0)) }
    self.expectation = expectation
    note = columns[7]
  }

  public var description: String { path }
  public var testDescription: String { path }
}
