import ImageManagement

/// Adds words to the sizes of a text report, for people at a terminal: `virtual_size 42949672960 (40 GiB)`.
///
/// Scripts read pipes and files, and those never have the words.
func sizesInWords(_ report: [UInt8]) -> [UInt8] {
  var result: [UInt8] = []
  for line in report.split(separator: UInt8(ascii: "\n")) {
    result += line
    let parts = line.split(separator: UInt8(ascii: " "))
    if parts.count == 2, String(decoding: parts[0], as: UTF8.self).hasSuffix("_size"),
      let bytes = UInt64(String(decoding: parts[1], as: UTF8.self)), bytes >= 10240
    {
      result += " (\(ImageManagement.sizeInWords(bytes)))".utf8
    }
    result.append(UInt8(ascii: "\n"))
  }
  return result
}
