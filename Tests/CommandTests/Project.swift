/// The files of this project that tests look at.
enum Project {
  static func file(_ name: String) -> String {
    "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/" + name
  }
}
