import ArgumentParser
import MountedView
import Storage

struct UnmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unmount",
    abstract: "Unmounts, and waits until everything is written.",
    discussion: """
      Returns when the process that served the mount has ended. The exit status is 0 only if all data was written. \
      A mount that is in use is not unmounted; who uses it is told.

      EXAMPLES
        vhdfs unmount /mnt/images
      """)

  @Argument(
    help: ArgumentHelp("The directory that is mounted on.", valueName: "directory"), completion: .directory)
  var directory: String

  @Flag(name: [.customShort("l"), .long], help: "Detach now, and let those who use it finish.")
  var lazy = false

  func run() throws {
    try MountService.unmount(directory, lazily: lazy)
  }
}
