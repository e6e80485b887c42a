import Glibc
import Storage
import SystemPackage

/// The path from a child's directory to its parent, as images record it.
enum RelativePath {
  /// `.\base.vhdx`, `..\bases\base.vhdx`: links resolved, backslashes between the components.
  ///
  /// Errors: the system's, for directories that are not there; a name with a backslash, which the formats cannot say.
  static func recorded(from child: String, to parent: String) throws(ImageError) -> String {
    let directory = FilePath(child).removingLastComponent()
    let from = try resolved(directory.isEmpty ? "." : directory.string).components.map(\.string)
    let to = try resolved(parent).components.map(\.string)
    let common = zip(from, to.dropLast()).prefix { $0 == $1 }.count
    let up = Array(repeating: "..", count: from.count - common)
    let components = (up.isEmpty ? ["."] : up) + to[common...]
    if let bad = components.first(where: { $0.contains("\\") }) {
      throw ImageError(
        .invalidParameter,
        "\(escaped(parent)): \(escaped(bad)) has a backslash in its name, which divides the recorded path; rename it"
      )
    }
    return components.joined(separator: "\\")
  }

  static func resolved(_ path: String) throws(ImageError) -> FilePath {
    guard let resolved = realpath(path, nil) else {
      let cause = Errno(rawValue: errno)
      throw ImageError(errno: cause, "\(escaped(path)): cannot be found: \(cause.description)")
    }
    defer { free(resolved) }
    return FilePath(String(cString: resolved))
  }
}
