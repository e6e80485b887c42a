import ArgumentParser
import ImageManagement
import Storage

struct MergeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "merge",
    abstract: "Merges a differencing image into a parent of its chain.",
    discussion: """
      The parent then reads exactly as the image did; its points and those of the image answer for changes as before. \
      Without --into it is the direct parent. Nothing is removed unless asked: the image may be used as before, though what \
      is written to it then is not in the parent; the files between are of use only below the image. --delete removes \
      all of them when everything is on the medium.

      Other images whose chains go through the parent, or through a file between, show wrong data afterwards or cannot \
      be opened: they are named, and nothing is done unless --force is given. Children of the image itself stay good; \
      --relink makes them children of the parent.

      A merge that was ended in the middle, by Ctrl-C or a power cut, leaves a chain that reads as before; run it again. \
      Ended while files were relinked or removed, it is run again too, and does only what is left of that. \
      A VHD does not tell whether another program wrote it since: if it has reference points, say --sole-writer, which keeps \
      them, or --force.

      EXAMPLES
        vhdfs merge child.avhdx
        vhdfs merge child.avhdx --into base.vhdx --delete
        vhdfs merge child.avhdx --dry-run
        echo base.vhdx delete > /mnt/images/child.avhdx/control/merge
      """)

  @OptionGroup var arguments: ImageArguments

  @Option(
    help: ArgumentHelp("The file of the chain to merge into.", valueName: "ancestor"), completion: .file())
  var into: String?

  @Flag(help: "Go on although other images become useless by it, or points end.")
  var force = false

  @Flag(help: "Nobody else wrote these files: a VHD that was not closed is believed to be as it was left.")
  var soleWriter = false

  @Flag(help: "Remove the merged files, with their tracking files, at the end.")
  var delete = false

  @Flag(help: "Make children of the image children of the file that it is merged into.")
  var relink = false

  @Flag(help: "Only tell what would be done.")
  var dryRun = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var words = OperationWords()
    if let into { words.add("into", into) }
    for (isGiven, word) in [
      (force, "force"), (soleWriter, "sole-writer"), (delete, "delete"), (relink, "relink"),
      (dryRun, "dry-run"),
    ] where isGiven {
      words.add(word)
    }
    try OperationRunner.run(Merge.self, words, on: arguments, json: json)
  }
}
