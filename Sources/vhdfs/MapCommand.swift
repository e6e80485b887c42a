import ArgumentParser
import ImageManagement
import Storage
import VirtualDisk

struct MapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map",
    abstract: "Shows which ranges of the disk are data, zero or unmapped, and which file holds them.",
    discussion: """
      Prints a line for each range: its offset and length on the disk, data, zero or unmapped, the depth in the \
      chain of the file that decides (0 is the image itself), and where in that file the bytes lie. The last line, \
      which begins with "# processed", tells that the answer is complete.

      EXAMPLES
        vhdfs map disk.vhdx
        vhdfs map --json --offset 1M --length 64M disk.vhdx
      """)

  @OptionGroup var arguments: ImageArguments

  @Option(help: ArgumentHelp("Where to begin on the disk.", valueName: "bytes"))
  var offset = ByteCount(bytes: 0)

  @Option(help: ArgumentHelp("How much of the disk to show; without it, all to the end.", valueName: "bytes"))
  var length: ByteCount?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let format: ReportFormat = json ? .json : .text
    var question = "map?format=\(format.rawValue)&offset=\(offset.bytes)"
    if let length { question += "&length=\(length.bytes)" }
    if try RunningMount.copyAnswer(about: arguments.image, question) { return }
    let library = try arguments.openLibrary()
    let handle = try library.open(library.onlyName(), access: .read)
    let disk = handle.disk
    let length = length?.bytes ?? (offset.bytes <= disk.size ? disk.size - offset.bytes : 0)
    guard offset.bytes <= disk.size, length <= disk.size - offset.bytes else {
      throw ImageError(
        .invalidParameter,
        "\(escaped(arguments.image)): offset \(offset.bytes) and length \(length) do not lie inside the disk, "
          + "which has \(disk.size) bytes")
    }
    var report = MapReport(of: disk, from: offset.bytes, length: length, as: format)
    while let piece = try report.nextPiece() { try StandardOutput.write(piece) }
    try handle.close()
    try library.close()
  }
}
