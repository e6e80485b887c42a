/// One step of a history that power cuts are tried on. Places and lengths are bytes of the disk.
package enum CrashStep: Sendable, CustomStringConvertible {
  case write(Int, Int)
  /// Zeros are written, as by a guest that knows no discard.
  case zeros(Int, Int)
  /// The range is discarded or zeroed.
  case zero(Int, Int)
  case flush
  /// The clean close.
  case finish
  /// The clean close, in the middle of which, right after its first flush, another thread writes.
  case finishWhileWriting(Int, Int)
  /// A compaction, which closes what was written before.
  case compact(Compacting)
  /// The process is killed and the image is opened anew. After `flush` or `finish` only.
  case reopen

  package var isDurable: Bool {
    switch self {
    case .flush, .finish, .finishWhileWriting, .compact: true
    default: false
    }
  }

  /// What the step touches.
  package var range: Range<Int>? {
    switch self {
    case .write(let offset, let count), .zeros(let offset, let count), .zero(let offset, let count),
      .finishWhileWriting(let offset, let count):
      offset..<(offset + count)
    default: nil
    }
  }

  package var description: String {
    switch self {
    case .write(let offset, let count): "write \(count) bytes at \(offset)"
    case .zeros(let offset, let count): "write \(count) zeros at \(offset)"
    case .zero(let offset, let length): "zero \(length) bytes at \(offset)"
    case .flush: "flush"
    case .finish: "close"
    case .compact(let compacting): "compact \(compacting)"
    case .finishWhileWriting(let offset, let count): "close while \(count) bytes are written at \(offset)"
    case .reopen: "open anew"
    }
  }
}

/// The file in which a history begins.
package enum CrashStart: String, Sendable {
  case asClosed
  /// One copy of a VHDX's region table is damaged.
  case firstRegionTableDamaged, secondRegionTableDamaged
  /// Of a VHD: no footer at the end; no copy at the beginning; 511 bytes of footer.
  case footerLost, copyBroken, footerShort
  /// Unused room of the file holds other bytes, as an earlier crash leaves it.
  case garbageBehind
  /// Block 0 of a VHDX is unmapped and has kept its place, as Windows leaves it.
  case softAnchor
  /// The sector bitmap of a VHDX child has bits of blocks that are not present.
  case garbageBits
}

/// What is done to a chain, with every power cut tried on the way.
package struct CrashHistory: Sendable {
  package var name: String
  package var kind: ChainKind
  /// Bytes of the disk.
  package var size: Int
  /// What is done before the record begins, and closed.
  package var prelude: [CrashStep]
  package var start: CrashStart
  package var steps: [CrashStep]
  package var seed: UInt64

  package init(
    _ name: String, _ kind: ChainKind, size: Int? = nil, prelude: [CrashStep] = [],
    start: CrashStart = .asClosed, seed: UInt64 = 1, _ steps: [CrashStep]
  ) {
    self.name = name
    self.kind = kind
    self.size = size ?? CrashHistory.usualSize(kind)
    self.prelude = prelude
    self.start = start
    self.seed = seed
    self.steps = steps
  }

  /// Bytes of a block.
  package static func blockSize(_ kind: ChainKind) -> Int { kind.isVHD ? 512 << 10 : 1 << 20 }
  /// Four blocks, the last of them half.
  package static func usualSize(_ kind: ChainKind) -> Int { blockSize(kind) * 7 / 2 }
}
