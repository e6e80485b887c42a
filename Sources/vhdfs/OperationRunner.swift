import Glibc
import ImageManagement
import Storage
import VirtualDisk

/// Runs an operation on an image that no mount shows, for the commands that do so.
enum OperationRunner {
  /// Shows its progress, and prints what came of it: the operation's facts as text, or with `json` events, of which the
  /// last has the facts.
  ///
  /// INT, TERM and HUP cancel it at its next safe point; the program ends by that signal then, as a shell expects.
  ///
  /// Errors: `.inUse` where a mount of this user's shows the image, but for a dry run and a read-only mount, which both change
  /// nothing; the operation's.
  static func run(
    _ operation: any Operation.Type, _ words: OperationWords, on arguments: ImageArguments, json: Bool
  ) throws {
    let progress = OperationProgress()
    let display = ProgressDisplay(operation.word, progress, json: json)
    // Before any other thread begins: they inherit what is blocked.
    let signals = EndingSignals()
    let watch = OperationWatch(progress, display, signals)
    do throws(ImageError) {
      let result = try perform(operation, words, arguments, progress, watch)
      watch.finish()
      try StandardOutput.write(
        json ? OperationEvent.finished(result).line : OperationReport(result).bytes(as: .text))
    } catch {
      watch.finish()
      if json { try? StandardOutput.write(OperationEvent.failed(error).line) }
      if error.errno == .canceled, let signal = watch.signal {
        complain(error.description)
        signals.end(by: signal)
      }
      throw error
    }
  }

  private static func perform(
    _ operation: any Operation.Type, _ words: OperationWords, _ arguments: ImageArguments,
    _ progress: OperationProgress, _ watch: OperationWatch
  ) throws(ImageError) -> [ReportField] {
    if let mount = RunningMount(holding: arguments.image), !(mount.isReadOnly && words.isDryRun) {
      let file = mount.directory.appending("control").appending(operation.word)
      let line = OperationLine(words, image: arguments.image).command(file: file)
      throw mount.refusalOfChange(instead: "do it there: \(line)")
    }
    let library = try arguments.openLibrary()
    let request = OperationRequest(
      words: words, image: try library.onlyName(), library: library, origin: .command, holder: operation.word)
    let running = try operation.init(request)
    defer { running.close() }
    watch.begin(image: arguments.image)
    let result = try running.run(progress)
    progress.finish()
    running.close()
    try library.close()
    return result
  }
}
