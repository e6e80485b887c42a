/// An open file of any kind: what a file handle of the kernel's points to.
///
/// The kernel hands back what it was given, until the release; nothing else makes handles.
enum OpenFile {
  case raw(Unmanaged<RawFile>)
  case facts(Unmanaged<OpenFacts>)
  case stream(Unmanaged<OpenStream>)
  case exchange(Unmanaged<OpenExchange>)

  /// Objects lie at multiples of 16: the lowest bits tell the kinds apart.
  private static let kindBits: UInt64 = 3
  private static let rawKind: UInt64 = 0
  private static let factsKind: UInt64 = 1
  private static let streamKind: UInt64 = 2
  private static let exchangeKind: UInt64 = 3

  /// Takes a reference, which the release gives back.
  static func handle(_ file: RawFile) -> UInt64 { retained(file, rawKind) }
  static func handle(_ file: OpenFacts) -> UInt64 { retained(file, factsKind) }
  static func handle(_ file: OpenStream) -> UInt64 { retained(file, streamKind) }
  static func handle(_ file: OpenExchange) -> UInt64 { retained(file, exchangeKind) }

  private static func retained(_ file: AnyObject, _ kind: UInt64) -> UInt64 {
    UInt64(UInt(bitPattern: Unmanaged.passRetained(file).toOpaque())) | kind
  }

  /// Nil for what is no handle.
  init?(handle: UInt64) {
    guard let pointer = UnsafeRawPointer(bitPattern: UInt(handle & ~OpenFile.kindBits)) else { return nil }
    switch handle & OpenFile.kindBits {
    case OpenFile.rawKind: self = .raw(.fromOpaque(pointer))
    case OpenFile.factsKind: self = .facts(.fromOpaque(pointer))
    case OpenFile.streamKind: self = .stream(.fromOpaque(pointer))
    default: self = .exchange(.fromOpaque(pointer))
    }
  }
}
