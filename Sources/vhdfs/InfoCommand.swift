import ArgumentParser
import ImageManagement
import Storage
import VirtualDisk

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Shows what an image is, or the files of its chain.",
    discussion: """
      Prints one fact a line, a key and a value; docs/control-files.md tells what each means. The image is only \
      read. Of an image that a running mount holds, the mount is asked.

      EXAMPLES
        vhdfs info disk.vhdx
        vhdfs info --json disk.vhdx
        vhdfs info --chain --parents /srv/bases checkpoint.avhdx
      """)

  @OptionGroup var arguments: ImageArguments

  @Flag(help: "Show the files from the image to the root of its chain, each with its state.")
  var chain = false

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let report = try chain ? chainReport() : infoReport()
    try StandardOutput.write(!json && StandardOutput.isTerminal ? sizesInWords(report) : report)
  }

  private var format: ReportFormat { json ? .json : .text }

  private func infoReport() throws(ImageError) -> [UInt8] {
    if let answer = RunningMount.answer(about: arguments.image, "info?format=\(format.rawValue)") {
      return answer
    }
    let library = try arguments.openLibrary()
    let name = try library.onlyName()
    let entry = try library.entry(named: name)
    if case .failure(let error) = entry.facts { throw error }
    var parentPath: String?
    if case .success(let facts) = entry.facts, facts.type == .differencing {
      // Where the parent was found says more than where the image thinks it is; a broken chain is told by --chain.
      let links = try library.chain(of: name)
      if links.count > 1, case .success = links[1].facts { parentPath = links[1].path }
    }
    let tracking = library.trackingState(of: entry)
    return InfoReport(entry, parentPath: parentPath, tracking: tracking).bytes(as: format)
  }

  private func chainReport() throws(ImageError) -> [UInt8] {
    if let answer = RunningMount.answer(about: arguments.image, "chain?format=\(format.rawValue)") {
      return answer
    }
    let library = try arguments.openLibrary()
    let links = try library.chain(of: library.onlyName())
    if links.count == 1, case .failure(let error) = links[0].facts { throw error }
    return ChainReport(links).bytes(as: format)
  }
}
