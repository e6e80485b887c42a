import ArgumentParser
import ImageManagement
import Storage
import VirtualDisk

struct ChangesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "changes",
    abstract: "Shows which ranges of the disk changed since a reference point.",
    discussion: """
      Prints a line for each range, its offset and its length in bytes, ascending. Nothing that changed is missing; \
      a little more may be told than changed. The first line names the point by its id; the last, which begins with \
      "# processed", tells that the answer is complete. Where it cannot be known what changed, the answer is refused \
      and says so: take a full copy then.

      With --limit parent, the ranges that a differencing image holds itself; this needs no tracking.

      Of an image that a running mount holds, the mount is asked.

      EXAMPLES
        vhdfs changes --limit monday disk.vhdx
        vhdfs changes --limit monday --offset 1G --length 1G --json disk.vhdx
        vhdfs changes --limit parent checkpoint.avhdx
      """)

  @OptionGroup var arguments: ImageArguments

  @Option(
    help: ArgumentHelp(
      "The id or the name of the point from which changes count, or parent.", valueName: "point"))
  var limit: String

  @Option(
    help: ArgumentHelp(
      "VHD Sets: the snapshot to compare with, instead of the disk as it is.", valueName: "id"))
  var target: String?

  @Option(help: ArgumentHelp("Where to begin on the disk.", valueName: "bytes"))
  var offset = ByteCount(bytes: 0)

  @Option(
    help: ArgumentHelp("How much of the disk to look at; without it, all to the end.", valueName: "bytes"))
  var length: ByteCount?

  @Option(
    help: ArgumentHelp(
      "At most so many ranges; the last line tells how far they reach. JSON never has more than 65536.",
      valueName: "ranges"))
  var max: UInt64?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var request = ChangesRequest()
    request.limit = limit
    request.target = target
    request.offset = offset.bytes
    request.length = length?.bytes
    request.maximum = max
    request.format = json ? .json : .text
    if let mount = RunningMount(holding: arguments.image) {
      // What cannot be said in a file's name is no point's name.
      try request.checkWords(arguments.image)
      return try mount.copyAnswer(to: "changes?\(request.question)")
    }
    let library = try arguments.openLibrary()
    let handle = try library.open(library.onlyName(), access: .read)
    var report = try ChangesReport(of: handle.disk, request)
    while let piece = try report.nextPiece() { try StandardOutput.write(piece) }
    try handle.close()
    try library.close()
  }
}
