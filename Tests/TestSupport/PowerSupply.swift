import Synchronization

/// What the power of a machine is good for: so many more changes and flushes of all its files together.
public final class PowerSupply: Sendable {
  /// Nil: no end.
  private let rest = Mutex<Int?>(nil)

  public init() {}

  /// Takes one; false when the power is gone.
  func take() -> Bool {
    rest.withLock { rest in
      guard let left = rest else { return true }
      rest = max(0, left - 1)
      return left > 0
    }
  }

  /// Nothing can be changed any more.
  public var isGone: Bool { rest.withLock { $0 == 0 } }

  public func last(for changes: Int) { rest.withLock { $0 = changes } }
  public func restore() { rest.withLock { $0 = nil } }
}
