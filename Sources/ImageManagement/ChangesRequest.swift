import Storage

/// A question for changed ranges, as the control file and the command ask it.
public struct ChangesRequest: Sendable, Equatable {
  /// The id or the name of a point, or `parent`; nil where none was named, which is an error.
  public var limit: String?
  /// Sets only: the snapshot to compare with; nil: the disk as it is now.
  public var target: String?
  /// Bytes of the disk.
  public var offset: UInt64 = 0
  /// Bytes; nil: to the end of the disk.
  public var length: UInt64?
  /// The most ranges to tell; nil: in JSON 65,536, in text all.
  public var maximum: UInt64?
  public var format = ReportFormat.text

  public init() {}

  /// The most ranges of an answer in JSON, which stands in memory as a whole.
  public static let largestJSON = 65_536

  /// What the question leads to, checked against a disk of `size` bytes. `image` is named in errors.
  ///
  /// Errors: 32773 for a missing limit, a target (no image is a set here), a region that is empty or not inside the disk.
  func checked(ofDisk size: UInt64, _ image: String) throws(ImageError) -> (
    limit: String, region: Range<UInt64>
  ) {
    func refusal(_ what: String) -> ImageError {
      ImageError(.invalidParameter, "\(escaped(image)): changes: \(what)")
    }
    guard let limit, !limit.isEmpty else {
      throw refusal("a limit is needed: the id or the name of a reference point, or parent")
    }
    if target != nil { throw refusal("a target is for VHD Sets; this image is none") }
    if let maximum, maximum == 0 { throw refusal("max must be at least 1") }
    guard offset < size else {
      throw refusal("offset \(offset) lies at or behind the end of the disk, which has \(size) bytes")
    }
    let length = length ?? size - offset
    guard length > 0 else { throw refusal("a length of 0 asks for nothing") }
    guard length <= size - offset else {
      throw refusal(
        "offset \(offset) and length \(length) do not lie inside the disk, which has \(size) bytes")
    }
    return (limit, offset..<(offset + length))
  }

  /// Whether the question can be put into a name: words with a `&` or a `/`, or very long ones, are no point's.
  ///
  /// Errors: 32773 without a limit, 32789 for a limit that no point can be called by.
  public func checkWords(_ image: String) throws(ImageError) {
    guard let limit, !limit.isEmpty else {
      throw ImageError(.invalidParameter, "\(escaped(image)): changes: a limit is needed")
    }
    let isAllowed: (UInt8) -> Bool = { (0x21...0x7E).contains($0) && !"&=/?\\".utf8.contains($0) }
    for word in [limit, target ?? ""] where word.utf8.count > 64 || !word.utf8.allSatisfy(isAllowed) {
      throw ImageError(
        .objectNotFound, "\(escaped(image)): changes: there is nothing of the name \(escaped(word))")
    }
  }

  /// As it stands behind the question mark of `changes?…`.
  public var question: String {
    var parts: [String] = []
    if let limit { parts.append("limit=\(limit)") }
    if let target { parts.append("target=\(target)") }
    parts.append("offset=\(offset)")
    if let length { parts.append("length=\(length)") }
    if let maximum { parts.append("max=\(maximum)") }
    parts.append("format=\(format.rawValue)")
    return parts.joined(separator: "&")
  }
}
