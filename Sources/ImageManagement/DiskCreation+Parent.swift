import Storage
import VirtualDisk

extension DiskCreation {
  /// Makes sure that `parent` is an image of `format` whose own chain is whole, and that nobody writes to it; the file
  /// is open for reading and locked as long as it is held.
  func openParent(_ parent: String, format: ImageFormat) throws(ImageError) -> (ImageFacts, HostFile) {
    // First the lock: what is read after it stays true.
    let file = try HostFile.open(parent, writable: false)
    _ = try file.lock(.reader)
    let library = try DiskLibrary(sources: [parent], parentDirectories: parentDirectories, isReadOnly: true)
    let links = try library.chain(of: library.onlyName())
    for link in links {
      if case .failure(let error) = link.facts { throw error }
    }
    guard case .success(let facts)? = links.first?.facts else {
      throw ImageError(.fileNotFound, "\(escaped(parent)): no such image")
    }
    if let source = try library.entry(named: library.onlyName()).validOnlyBelow {
      throw ImageError(
        .invalidState,
        "\(escaped(parent)): \(escaped(source)) was merged past it, and it reads right only below that image: a child of it "
          + "would show wrong data; make it of the file that was merged into, or of \(escaped(source))")
    }
    guard facts.format == format else {
      throw refusal(
        "a \(format.rawValue) child needs a \(format.rawValue) parent, and \(escaped(parent)) is of the format "
          + facts.format.rawValue)
    }
    return (facts, file)
  }
}
