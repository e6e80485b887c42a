import ChangeTracking
import Storage
import VirtualDisk

/// A disk as a grid of squares, each for a stretch of it: the contents of `control/map.svg`.
///
/// Made by one walk through the disk's runs, and one through what changed; both are spread over at most 4096 squares, so
/// neither time nor memory depends on the disk's size but by its tables.
public struct DiskPicture: Sendable {
  /// Squares in a row, and the most rows.
  static let columns = 64
  static let largestCount: UInt64 = 4096

  /// What a stretch of the disk is; the order decides between equals.
  enum Kind: Int, CaseIterable {
    /// Bytes in this image's own file.
    case own
    /// Bytes in a file of a parent.
    case parent
    /// A file says that it reads as zero.
    case zero
    /// No file says anything.
    case unmapped
  }

  struct Square {
    /// Bytes of each kind.
    var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    var changed: UInt64 = 0

    mutating func add(_ count: UInt64, _ kind: Kind) {
      switch kind {
      case .own: bytes.0 += count
      case .parent: bytes.1 += count
      case .zero: bytes.2 += count
      case .unmapped: bytes.3 += count
      }
    }

    /// What prevails.
    var kind: Kind {
      let counts = [bytes.0, bytes.1, bytes.2, bytes.3]
      return Kind.allCases.max { counts[$0.rawValue] < counts[$1.rawValue] } ?? .unmapped
    }
  }

  /// What is known of changes.
  enum Changes {
    case since(ReferencePoint)
    /// Why nothing is shown, in a few words.
    case unknown(String)
  }

  let name: String
  let size: UInt64
  let hasParent: Bool
  let made: Int64
  /// Bytes of the disk that a square stands for: a power of two.
  let squareSize: UInt64
  private(set) var squares: [Square]
  private(set) var totals: [UInt64] = [0, 0, 0, 0]
  private(set) var changed: UInt64 = 0
  var changes = Changes.unknown("")

  /// - Parameters:
  ///   - size: of the disk, bytes.
  ///   - made: nanoseconds since 1970.
  init(name: String, size: UInt64, hasParent: Bool, made: Int64) {
    self.name = name
    self.size = size
    self.hasParent = hasParent
    self.made = made
    var squareSize: UInt64 = 4096
    while (size + squareSize - 1) / squareSize > DiskPicture.largestCount { squareSize <<= 1 }
    self.squareSize = squareSize
    squares = Array(repeating: Square(), count: Int((size + squareSize - 1) / squareSize))
  }

  mutating func add(_ range: Range<UInt64>, _ kind: Kind) {
    totals[kind.rawValue] += range.upperBound - range.lowerBound
    spread(range) { $0.add($1, kind) }
  }

  mutating func addChange(_ range: Range<UInt64>) {
    changed += range.upperBound - range.lowerBound
    spread(range) { $0.changed += $1 }
  }

  private mutating func spread(_ range: Range<UInt64>, _ body: (inout Square, UInt64) -> Void) {
    var position = range.lowerBound
    let end = min(range.upperBound, size)
    while position < end {
      let index = position / squareSize
      let next = min(end, (index + 1) * squareSize)
      body(&squares[Int(index)], next - position)
      position = next
    }
  }
}
