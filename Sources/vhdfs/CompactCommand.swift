import ArgumentParser
import ImageManagement

struct CompactCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compact",
    abstract: "Gives the room back that an image's disk does not use.",
    discussion: """
      Works in place, without a second copy: blocks that hold nothing are given up, blocks at the file's end move into \
      the holes, and the file is cut. What used space reads as does not change. It may be cancelled, or cut off, at any \
      moment, and run again.

      MODES
        full (0)        reads every block; what is zero, and what the file systems do not use, is given up
        quick (1)       what the file systems do not use, without reading blocks for zeros
        retrim (2)      what the file systems do not use becomes zero; the host gets the room back; nothing moves
        pretrimmed (3)  what was unmapped before; file systems are not asked
        prezeroed (4)   reads every block; what is zero is given up; file systems are not asked

      NTFS, ext2/3/4 and Linux swap are asked what they use; any other counts as used as a whole, and so does one that was \
      not closed cleanly: the report says so. An image that is the parent of another takes pretrimmed and prezeroed only: what is free and not zero turns zero in the \
      other modes, and children, also those that stand where nobody looks, do not fit any more (contents_changed). \
      A fixed VHDX keeps its size, and gives room back to the host.

      EXAMPLES
        vhdfs compact disk.vhdx
        vhdfs compact --mode full --dry-run disk.vhdx
        vhdfs compact --mode prezeroed --json parent.vhdx
      """)

  @OptionGroup var arguments: ImageArguments

  @Option(
    name: [.short, .long],
    help: "full, quick, retrim, pretrimmed or prezeroed, or 0 to 4. (default: full for VHD, quick for VHDX)")
  var mode: String?

  @Flag(help: "Say what would be done, and change nothing.")
  var dryRun = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    var words = OperationWords()
    if let mode { words.add(mode) }
    if dryRun { words.add("dry-run") }
    try OperationRunner.run(Compaction.self, words, on: arguments, json: json)
  }
}
