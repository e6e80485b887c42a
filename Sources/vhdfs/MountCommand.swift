import ArgumentParser
import MountedView
import Storage

struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Mounts images: each shows its disk and partitions as raw files.",
    discussion: """
      A SOURCE is an image or a directory of images. DIRECTORY then holds one for each image, with its disk, \
      its partitions and its control files. The command returns when the mount is ready; the mount is served in \
      the background until it is unmounted.

      EXAMPLES
        vhdfs mount disk.vhdx /mnt/images
        vhdfs mount -r --parents /srv/bases /srv/checkpoints /mnt/images
        vhdfs mount -o allow_other,uid=1000 /srv/vm /mnt/images
        losetup --find --show --partscan --direct-io=on /mnt/images/disk.vhdx/disk

      -o takes these words, joined by commas, and passes over what mount(8) and systemd use among themselves:
        ro, rw         read-only, or not
        allow_other    others than the mounting user may come in, as far as the modes let them
        uid=, gid=     who owns the files
        umask=         permission bits (octal) that no file has
        parents=DIR    as --parents
        track          as --track
        tracking=strict
                       a write whose change cannot be recorded fails; otherwise the record is ended, and the write goes on
        sole-writer    nobody else writes these images: a VHD that was not closed is believed to be as it was left
      """)

  @Argument(
    help: ArgumentHelp(
      "Images, directories of images, and last the directory to mount on.", valueName: "source"),
    completion: .file())
  var paths: [String] = []

  @Flag(name: [.customShort("f"), .long], help: "Serve in the foreground, and log to the terminal.")
  var foreground = false

  @Flag(name: [.customShort("r"), .long], help: "Change no byte of any file.")
  var readOnly = false

  @Option(
    name: .customShort("o"),
    help: ArgumentHelp("Mount options, joined by commas. May be given again.", valueName: "options"))
  var options: [String] = []

  @Option(
    help: ArgumentHelp(
      "A directory where parents may be found, besides the image's own. May be given again.", valueName: "dir"
    ),
    completion: .directory)
  var parents: [String] = []

  @Flag(help: "Track the changes of every image that is opened for writing.")
  var track = false

  /// Where the process that starts the one in the background waits for word of it.
  @Option(help: .hidden)
  var statusDescriptor: Int32?

  func validate() throws {
    guard paths.count >= 2 else { throw ValidationError("A SOURCE and a DIRECTORY to mount on are needed.") }
    // Made absolute, an empty word (a script's variable that was not set) would be the current directory.
    guard !paths.contains("") && !parents.contains("") else {
      throw ValidationError("An empty word names no file and no directory.")
    }
  }

  func run() throws {
    var mount = MountOptions(sources: Array(paths.dropLast()), mountPoint: paths[paths.count - 1])
    for words in options { try mount.apply(words: words) }
    mount.parentDirectories += parents
    mount.isReadOnly = mount.isReadOnly || readOnly
    mount.isForeground = foreground
    if track { mount.tracking.tracksAll = true }
    try MountService.run(mount, statusDescriptor: statusDescriptor)
  }
}
