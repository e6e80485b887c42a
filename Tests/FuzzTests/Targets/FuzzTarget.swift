import Storage

/// One decoder, or a whole program path, that is given inputs which nobody made with good intentions.
///
/// Whatever the input, `run` must return: an `ImageError` of the code under test is an answer like any other. It throws
/// where a promise was broken; a trap, a sanitizer's word, a hang, or much memory show by themselves.
package struct FuzzTarget: Sendable {
  package let name: String
  /// What is fed, in a few words.
  package let subject: String
  /// Bytes of an input at most.
  package var maximumLength = 16 << 10
  package let run: @Sendable (UnsafeRawBufferPointer) throws -> Void
  package let form: InputForm
  /// Words that libFuzzer may put into inputs.
  package var words: [String] = []
  /// Inputs to begin with besides those made from images.
  package var seeds: @Sendable () -> [[UInt8]] = { [] }

  package static let all: [FuzzTarget] = [
    vhdFooter, vhdHeader, vhdParent, vhdBlocks,
    vhdxHeaders, vhdxRegions, vhdxMetadata, vhdxLocator, vhdxBlocks, vhdxLog,
    partitions, space, control, orders, options, mounts, tracking, image,
  ]

  package static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// What inputs are made of, which tells how they are changed and made from image files.
package enum InputForm: Sendable {
  /// A file (`SparseImage`), of which `parts` are changed on purpose.
  case file(Set<ImagePart>)
  /// The first bytes of a disk, as a `SparseImage`.
  case disk
  /// The bytes of a parent locator of a VHDX.
  case locator
  case text
}

/// A promise was broken.
package struct BrokenPromise: Error, CustomStringConvertible {
  package let description: String
}

/// What must hold, whatever the input.
func require(_ condition: Bool, _ promise: @autoclosure () -> String) throws {
  guard condition else { throw BrokenPromise(description: promise()) }
}

/// What `body` answers; nil where it refuses. Only `ImageError` is a refusal.
func answer<T>(_ body: () throws(ImageError) -> T) -> T? {
  do throws(ImageError) { return try body() } catch { return nil }
}
