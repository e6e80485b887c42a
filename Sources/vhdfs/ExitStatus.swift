import Storage

/// The program's exit status, a number for each kind of failure. The table in docs/exit-status.md is part of the
/// interface: a number never changes its meaning.
struct ExitStatus: RawRepresentable, Hashable, Sendable {
  let rawValue: Int32

  static let done = ExitStatus(rawValue: 0)
  /// The command line was not understood; nothing was done.
  static let usage = ExitStatus(rawValue: 64)

  /// The status of a return value: 10 for `failed` (32768) and so on upwards.
  init(_ value: ReturnValue) {
    let base = ReturnValue.failed.rawValue
    switch value.rawValue {
    case 0: self = .done
    case base...(base + 40): self.init(rawValue: Int32(value.rawValue - base) + 10)
    default: self.init(rawValue: 10)
    }
  }

  init(rawValue: Int32) { self.rawValue = rawValue }
}
