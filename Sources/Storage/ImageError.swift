import SystemPackage

/// The one error of this project: a return value, an errno, and one sentence that names the file, the offset,
/// the cause and what to do; with the error that caused it, if another did.
public struct ImageError: Error, Sendable, CustomStringConvertible {
  /// The value that `job` shows and that the documented tables speak of.
  public let returnValue: ReturnValue
  /// What a system call on the mount answers. The system's own errno is kept and not folded into EIO.
  public let errno: Errno
  /// One sentence without a full stop's line end; bytes from files are escaped in it.
  public let sentence: String
  /// At most one element: the error that caused this one. (A structure cannot hold itself.)
  private let causes: [ImageError]

  public var cause: ImageError? { causes.first }

  public init(_ returnValue: ReturnValue, errno: Errno? = nil, _ sentence: String, cause: ImageError? = nil) {
    self.returnValue = returnValue
    self.errno = errno ?? returnValue.usualErrno
    self.sentence = sentence
    self.causes = cause.map { [$0] } ?? []
  }

  /// A failed system call; the errno chooses the return value.
  public init(errno: Errno, _ sentence: String, cause: ImageError? = nil) {
    self.init(ReturnValue(errno: errno), errno: errno, sentence, cause: cause)
  }

  /// The file's bytes are not what its format demands (32776, EBADMSG).
  public static func damaged(_ file: String, at offset: UInt64? = nil, _ what: String) -> ImageError {
    let place = offset.map { " at offset \($0)" } ?? ""
    return ImageError(.wrongDataType, "\(escaped(file))\(place): \(what)")
  }

  /// The sentence, then each cause in turn, in one line.
  public var description: String {
    cause.map { "\(sentence): \($0.description)" } ?? sentence
  }

  /// The cause chain, this error first.
  public var chain: [ImageError] {
    [self] + (cause?.chain ?? [])
  }
}

/// Text from a file or a user made safe to print in one line: control characters, the backslash, and the marks that
/// turn the direction of text become `\NNN` (octal) for each byte, as in /proc/self/mountinfo.
public func escaped(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: isUnsafe) else { return text }
  var result = ""
  for scalar in text.unicodeScalars {
    guard isUnsafe(scalar) else {
      result.unicodeScalars.append(scalar)
      continue
    }
    for byte in UTF8.encode(scalar) ?? .init() {
      let octal = String(byte, radix: 8)
      result += "\\" + String(repeating: "0", count: 3 - octal.count) + octal
    }
  }
  return result
}

private func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.value {
  case 0..<0x20, 0x5C, 0x7F..<0xA0: true
  case 0x200E, 0x200F, 0x2028, 0x2029, 0x202A...0x202E, 0x2066...0x2069: true
  default: false
  }
}
