import Storage
import VirtualDisk

/// The five modes of CompactVirtualHardDisk, by their names and numbers.
public enum CompactionMode: UInt16, CaseIterable, Sendable {
  case full, quick, retrim, pretrimmed, prezeroed

  public var name: String { String(describing: self) }

  /// A name or a number. Errors: `.invalidParameter`.
  init(_ word: String) throws(ImageError) {
    guard let mode = CompactionMode.allCases.first(where: { $0.name == word || String($0.rawValue) == word })
    else {
      let known = CompactionMode.allCases.map { "\($0.name) (\($0.rawValue))" }.joined(separator: ", ")
      throw ImageError(.invalidParameter, "compact: \"\(escaped(word))\" is no mode; there are \(known)")
    }
    self = mode
  }

  /// What the form without a mode means.
  init(format: ImageFormat) { self = format == .vhd ? .full : .quick }

  /// File systems are asked what is free: what they do not use may become zero.
  var asksFileSystems: Bool {
    switch self {
    case .full, .quick, .retrim: true
    case .pretrimmed, .prezeroed: false
    }
  }

  var choice: CompactionChoice {
    switch self {
    case .full, .prezeroed: CompactionChoice(scansForZeros: true, usesTables: true, trims: false, moves: true)
    case .quick, .pretrimmed:
      CompactionChoice(scansForZeros: false, usesTables: true, trims: false, moves: true)
    case .retrim: CompactionChoice(scansForZeros: false, usesTables: false, trims: true, moves: false)
    }
  }
}
