/// How a number of bytes is said in words: `40 GiB`, `1.5 TiB`, `512 bytes`.
///
/// Tenths are cut and not rounded: a disk is never said to be larger than it is.
public func sizeInWords(_ bytes: UInt64) -> String {
  let units: [(name: String, shift: UInt64)] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
  guard let unit = units.first(where: { bytes >> $0.shift > 0 }) else { return "\(bytes) bytes" }
  let tenths = ((bytes >> (unit.shift - 10)) * 10) >> 10
  return tenths % 10 == 0 ? "\(tenths / 10) \(unit.name)" : "\(tenths / 10).\(tenths % 10) \(unit.name)"
}
