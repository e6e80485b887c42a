import ArgumentParser
import Storage
import VirtualDisk

/// What the commands that look at one image have in common.
struct ImageArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("The image: a .vhd, .avhd, .vhdx or .avhdx file.", valueName: "image"),
    completion: .file())
  var image: String

  @Option(
    help: ArgumentHelp(
      "A directory where parents may be found, besides the image's own. May be given again.", valueName: "dir"
    ),
    completion: .directory)
  var parents: [String] = []

  /// A library of this one image, by which nothing is opened for writing. Doubts are told on the standard error.
  func openLibrary() throws(ImageError) -> DiskLibrary {
    try DiskLibrary(sources: [image], parentDirectories: parents, isReadOnly: false) { doubt in
      writeToStandardError("vhdfs: warning: \(doubt)\n")
    }
  }
}
