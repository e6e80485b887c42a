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
        vhdfs map --svg disk.vhdx > disk.svg
      """)

  @OptionGroup var arguments: ImageArguments

  @Option(help: ArgumentHelp("Where to begin on the disk.", valueName: "bytes"))
  var offset = ByteCount(bytes: 0)

  @Option(help: ArgumentHelp("How much of the disk to show; without it, all to the end.", valueName: "bytes"))
  var length: ByteCount?

  @Flag(help: "Print JSON.")
  var json = false

  @Flag(
    help: "Print a picture of the whole disk, as SVG, with what changed since the newest reference point.")
  var svg = false

  func validate() throws {
    if svg, json || offset.bytes != 0 || length != nil {
      throw ValidationError("--svg shows the whole disk, and goes with no other option but --parents.")
    }
  }

  func run() throws {
    if svg { return try printPicture() }
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

  private func printPicture() throws(ImageError) {
    if try RunningMount.copyAnswer(about: arguments.image, "map.svg") { return }
    let library = try arguments.openLibrary()
    let name = try library.onlyName()
    let handle = try library.open(name, access: .read)
    let picture = try DiskPicture(of: handle.disk, name: name, tracking: library.tracking(of: name))
    try StandardOutput.write(picture.svg)
    try handle.close()
    try library.close()
  }
}
