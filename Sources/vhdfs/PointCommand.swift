import ArgumentParser
import ImageManagement
import Storage
import VirtualDisk

struct PointCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "point",
    abstract: "Makes, drops and lists reference points.",
    discussion: """
      A reference point is a named moment from which changes can be asked for; change tracking must be on. Its id \
      names it for ever, and is what scripts should keep: a name may be used again for another point.

      Of an image that a running mount holds, the mount is asked; there, mkdir and rmdir in points/ make and drop.

      EXAMPLES
        vhdfs point create disk.vhdx monday
        vhdfs point list disk.vhdx
        vhdfs point delete disk.vhdx monday
        mkdir /mnt/images/disk.vhdx/points/monday
      """,
    subcommands: [PointCreateCommand.self, PointDeleteCommand.self, PointListCommand.self])
}

struct PointCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Makes a reference point, and prints its id.",
    discussion: """
      Everything written before the point is durable when the command returns, and so is the point.

      EXAMPLES
        vhdfs point create disk.vhdx monday
      """)

  @OptionGroup var arguments: ImageArguments

  @Argument(
    help: ArgumentHelp("1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'; not 'parent'.", valueName: "name"))
  var name: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    if let mount = RunningMount(holding: arguments.image) {
      let directory = escaped(mount.directory.string)
      throw mount.refusalOfChange(instead: "make the directory \(directory)/points/\(escaped(name))")
    }
    let library = try arguments.openLibrary()
    let point = try library.makePoint(name, of: library.onlyName())
    try library.close()
    try StandardOutput.write(PointReport(point).bytes(as: json ? .json : .text))
  }
}

struct PointDeleteCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Drops a reference point.",
    discussion: """
      Changes since older points can still be asked for.

      EXAMPLES
        vhdfs point delete disk.vhdx monday
      """)

  @OptionGroup var arguments: ImageArguments

  @Argument(help: ArgumentHelp("The point's name or id.", valueName: "name"))
  var name: String

  func run() throws {
    if let mount = RunningMount(holding: arguments.image) {
      let directory = escaped(mount.directory.string)
      throw mount.refusalOfChange(instead: "remove the point's directory in \(directory)/points")
    }
    let library = try arguments.openLibrary()
    try library.dropPoint(name, of: library.onlyName())
    try library.close()
  }
}

struct PointListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the reference points, oldest first.",
    discussion: """
      A line for each: point, its name, its id, and when it was made. Where the record of changes does not count, there \
      are none; vhdfs tracking tells why.

      EXAMPLES
        vhdfs point list --json disk.vhdx
      """)

  @OptionGroup var arguments: ImageArguments

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let format: ReportFormat = json ? .json : .text
    if try RunningMount.copyAnswer(about: arguments.image, "tracking?show=points&format=\(format.rawValue)") {
      return
    }
    let library = try arguments.openLibrary()
    let facts = try library.tracking(of: library.onlyName())
    try library.close()
    try StandardOutput.write(PointListReport(facts).bytes(as: format))
  }
}
