/// What happened to a host file between two flushes, and which states of it a power cut could leave.
///
/// Everything that was flushed is there. Of what came after it any change may be there or not, each by itself, in any
/// order, and torn at sectors of 512 bytes: the medium takes whole sectors, so a write of a part of one is recorded
/// with the bytes around it. The size changes on its own: a file may have grown without the bytes that made it grow, and
/// what lies behind a size that was lost is lost with it.
public struct RecordedEpoch: Sendable {
  public enum Change: Sendable {
    /// Whole sectors, but for those at the end of the file.
    case write(offset: UInt64, bytes: [UInt8])
    /// Whole sectors that became zero.
    case zero(offset: UInt64, length: UInt64)
    /// Nothing but the size changed.
    case resize

    public var range: Range<UInt64> {
      switch self {
      case .write(let offset, let bytes): offset..<(offset + UInt64(bytes.count))
      case .zero(let offset, let length): offset..<(offset + length)
      case .resize: 0..<0
      }
    }
  }

  public struct Entry: Sendable {
    public var change: Change
    /// What the caller was doing then.
    public var operation: Int
    public var sizeAfter: UInt64
  }

  /// The file at the flush that the epoch began with.
  public let base: SparseBytes
  public var entries: [Entry] = []
  /// What the caller was doing when the epoch began and when it ended.
  public var firstOperation: Int
  public var lastOperation: Int

  public init(base: SparseBytes, operation: Int) {
    self.base = base
    firstOperation = operation
    lastOperation = operation
  }

  /// Entries that change bytes; the others change the size only.
  public var dataEntries: [Int] {
    entries.indices.filter { if case .resize = entries[$0].change { false } else { true } }
  }

  /// Entries that changed the size, by a write too.
  public var sizeEntries: [Int] {
    entries.indices.filter { entries[$0].sizeAfter != ($0 == 0 ? base.size : entries[$0 - 1].sizeAfter) }
  }
}

/// One of the states that a power cut could leave of an epoch.
public struct CrashChoice: Sendable, Hashable, CustomStringConvertible {
  public enum Fate: Sendable, Hashable {
    case lost, kept
    /// Some of its sectors are there: see `tornSectors`.
    case torn(seed: UInt64)
  }

  /// Of each data entry.
  public var fates: [Fate]
  /// How many of the size entries happened.
  public var sizes: Int
  /// The order in which the data entries reached the medium; nil: as they were made.
  public var order: UInt64?

  public init(fates: [Fate], sizes: Int, order: UInt64? = nil) {
    self.fates = fates
    self.sizes = sizes
    self.order = order
  }

  public var description: String {
    let letters = fates.map { fate in
      switch fate {
      case .lost: "-"
      case .kept: "K"
      case .torn(let seed): "t\(seed)"
      }
    }
    return letters.joined(separator: fates.contains { if case .torn = $0 { true } else { false } } ? " " : "")
      + " size \(sizes)" + (order.map { " order \($0)" } ?? "")
  }
}

extension RecordedEpoch {
  /// The file as that choice leaves it.
  public func state(_ choice: CrashChoice) -> SparseBytes {
    var result = base
    let sizeEntries = sizeEntries
    let happened = Set(sizeEntries.prefix(choice.sizes))
    let wasCut = happened.contains {
      entries[$0].sizeAfter < ($0 == 0 ? base.size : entries[$0 - 1].sizeAfter)
    }
    var order = Array(entries.indices)
    if let seed = choice.order, !wasCut {
      var generator = SeededGenerator(seed: seed)
      order.shuffle(using: &generator)
    }
    var number = [Int](repeating: 0, count: entries.count)
    for (position, index) in dataEntries.enumerated() { number[index] = position }
    for index in order {
      let entry = entries[index]
      if case .resize = entry.change {
        // Growing shows in the size alone; cutting takes the bytes away.
        if happened.contains(index), entry.sizeAfter < result.size { result.resize(to: entry.sizeAfter) }
        continue
      }
      let range = entry.change.range
      switch choice.fates[number[index]] {
      case .lost: break
      case .kept: apply(entry.change, range, to: &result)
      case .torn(let seed):
        for piece in RecordedEpoch.tornSectors(range, seed: seed) { apply(entry.change, piece, to: &result) }
      }
    }
    let size = choice.sizes == 0 ? base.size : entries[sizeEntries[choice.sizes - 1]].sizeAfter
    if result.size != size { result.resize(to: size) }
    return result
  }

  private func apply(_ change: Change, _ range: Range<UInt64>, to result: inout SparseBytes) {
    switch change {
    case .write(let offset, let bytes):
      bytes.withUnsafeBytes {
        let part = Int(range.lowerBound - offset)..<Int(range.upperBound - offset)
        result.write(UnsafeRawBufferPointer(rebasing: $0[part]), at: range.lowerBound)
      }
    case .zero: result.zero(at: range.lowerBound, length: UInt64(range.count))
    case .resize: break
    }
  }

  /// The pieces of a torn change that reached the medium: a beginning, an end, one sector, all but one, or any.
  static func tornSectors(_ range: Range<UInt64>, seed: UInt64) -> [Range<UInt64>] {
    var generator = SeededGenerator(seed: seed)
    let first = range.lowerBound / 512
    let count = (range.upperBound + 511) / 512 - first
    guard count > 1 else { return seed & 1 == 0 ? [range] : [] }
    func piece(_ from: UInt64, _ to: UInt64) -> Range<UInt64> {
      max(range.lowerBound, (first + from) * 512)..<min(range.upperBound, (first + to) * 512)
    }
    let cut = UInt64.random(in: 1..<count, using: &generator)
    switch UInt8.random(in: 0..<6, using: &generator) {
    case 0: return [piece(0, cut)]
    case 1: return [piece(cut, count)]
    case 2: return [piece(cut, cut + 1)]
    case 3: return [piece(0, cut), piece(cut + 1, count)].filter { !$0.isEmpty }
    default:
      var pieces: [Range<UInt64>] = []
      for sector in 0..<count where Bool.random(using: &generator) {
        let next = piece(sector, sector + 1)
        if let last = pieces.last, last.upperBound == next.lowerBound {
          pieces[pieces.count - 1] = last.lowerBound..<next.upperBound
        } else {
          pieces.append(next)
        }
      }
      return pieces
    }
  }

  /// Any state. Few changes lost, most lost, or all sides alike: each shows other errors.
  public func randomChoice(_ generator: inout SeededGenerator) -> CrashChoice {
    let share = [0.02, 0.2, 0.5, 0.8, 0.98].randomElement(using: &generator) ?? 0.5
    let tearing = [0.0, 0.3, 0.9].randomElement(using: &generator) ?? 0.0
    let fates = dataEntries.map { _ -> CrashChoice.Fate in
      guard Double.random(in: 0..<1, using: &generator) < share else { return CrashChoice.Fate.kept }
      return Double.random(in: 0..<1, using: &generator) < tearing
        ? .torn(seed: generator.next() >> 32) : .lost
    }
    let sizes = sizeEntries.count
    return CrashChoice(
      fates: fates,
      sizes: [0, sizes, Int.random(in: 0...sizes, using: &generator)].randomElement(using: &generator)
        ?? sizes,
      order: hasOverlaps && Bool.random(using: &generator) ? generator.next() >> 32 : nil)
  }

  /// Whether the order of the changes matters at all.
  public var hasOverlaps: Bool {
    let ranges = dataEntries.map { entries[$0].change.range }.sorted { $0.lowerBound < $1.lowerBound }
    return zip(ranges, ranges.dropFirst()).contains { $0.upperBound > $1.lowerBound }
  }
}
