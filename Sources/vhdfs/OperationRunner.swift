import ImageManagement
import Storage
import VirtualDisk

/// Runs an operation on an image that no mount shows, for the commands that do so.
enum OperationRunner {
  /// Prints what came of it: the operation's facts, as text or JSON.
  ///
  /// Errors: `.inUse` where a mount of this user's shows the image; the operation's.
  static func run(
    _ operation: any Operation.Type, _ words: OperationWords, on arguments: ImageArguments, json: Bool
  ) throws {
    if let mount = RunningMount(holding: arguments.image) {
      throw mount.refusalOfChange(
        instead: "write \"\(escaped(words.line))\" to DIRECTORY/control/\(operation.word)")
    }
    let library = try arguments.openLibrary()
    let request = OperationRequest(
      words: words, image: try library.onlyName(), library: library, origin: .command, holder: operation.word)
    let progress = OperationProgress()
    let running = try operation.init(request)
    defer { running.close() }
    let result = try running.run(progress)
    running.close()
    try library.close()
    try StandardOutput.write(OperationReport(result).bytes(as: json ? .json : .text))
  }
}
