import ArgumentParser
import ImageManagement
import Storage
import VirtualDisk

struct TrackingCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tracking",
    abstract: "Shows or switches the tracking of changes.",
    discussion: """
      From the moment tracking is on, every change of the disk is recorded in a file beside the image, \
      IMAGE.tracking, whatever way it comes; vhdfs changes tells which ranges changed since a reference point. \
      Without a word, the state and the points are shown.

      on begins a record, unless one is kept already. off ends it, and every point with it, for ever. reset begins a \
      new record in the place of whatever is there, a damaged or foreign file included.

      Of an image that a running mount holds, the mount is asked; to switch, write the word to control/tracking there.

      EXAMPLES
        vhdfs tracking disk.vhdx
        vhdfs tracking disk.vhdx on
        echo on > /mnt/images/disk.vhdx/control/tracking
      """)

  @OptionGroup var arguments: ImageArguments

  @Argument(
    help: ArgumentHelp("on, off or reset; without it the state is shown.", valueName: "word"),
    completion: .list(TrackingChange.allCases.map(\.rawValue)))
  var change: TrackingChange?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    if let change { try set(change) } else { try show() }
  }

  private func show() throws(ImageError) {
    let format: ReportFormat = json ? .json : .text
    if try RunningMount.copyAnswer(about: arguments.image, "tracking?format=\(format.rawValue)") { return }
    let library = try arguments.openLibrary()
    let facts = try library.tracking(of: library.onlyName())
    try library.close()
    try StandardOutput.write(TrackingReport(facts).bytes(as: format))
  }

  private func set(_ change: TrackingChange) throws(ImageError) {
    if let mount = RunningMount(holding: arguments.image) {
      let directory = escaped(mount.directory.string)
      throw mount.refusalOfChange(instead: "write \(change.rawValue) to \(directory)/control/tracking")
    }
    let library = try arguments.openLibrary()
    try library.setTracking(change, of: library.onlyName())
    try library.close()
  }
}

extension TrackingChange: ExpressibleByArgument {}
