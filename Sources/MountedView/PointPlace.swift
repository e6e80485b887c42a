/// The directory of a reference point, and the files in it. The raw values are parts of inode numbers.
enum PointPlace: UInt8, CaseIterable, Sendable {
  case directory = 0
  case id = 1
  case created = 2
  case info = 3
  /// `info?format=json`.
  case infoAsJSON = 4

  /// What a listing shows.
  static let listed: [(name: String, place: PointPlace)] = [
    ("id", .id), ("created", .created), ("info", .info),
  ]

  /// The file of that name in a point's directory; nil when there is none.
  init?(name: String) {
    switch name {
    case "id": self = .id
    case "created": self = .created
    case "info", "info?format=text": self = .info
    case "info?format=json": self = .infoAsJSON
    default: return nil
    }
  }
}
