/// A name as the host's file system has it: two are equal only where every byte is.
///
/// Swift's strings are equal where they look the same, and "é" may be one scalar or two. For a file system those are two
/// names, of two files.
public struct ExactName: Hashable, Sendable {
  public let text: String

  public init(_ text: String) { self.text = text }

  public static func == (one: ExactName, other: ExactName) -> Bool { one.text.isExactly(other.text) }

  public func hash(into hasher: inout Hasher) {
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}

extension String {
  /// Whether both are the same bytes; see `ExactName`.
  public func isExactly(_ other: String) -> Bool { utf8.elementsEqual(other.utf8) }
}
