import ArgumentParser
import Glibc
import Storage

/// The program: names the commands, runs the one that was asked for, and turns what it came to into the exit status.
@main
struct VHDFS: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "vhdfs",
    abstract: "Mounts VHD and VHDX disk images, whole chains included, as raw block files.",
    discussion: """
      Sizes may be written with K, M, G or T (powers of 1024) and are printed in bytes. \
      What went wrong is told on the standard error; the exit status says of which kind it was \
      (see docs/exit-status.md).
      """,
    version: "vhdfs \(programVersion)",
    subcommands: subcommands)

  static let _errorLabel = "vhdfs"

  static func main() {
    let invocation = Invocation(CommandLine.arguments)
    if invocation.isFake { Glibc.exit(ExitStatus.done.rawValue) }
    Glibc.exit(invocation.status(for: run(invocation.arguments)))
  }

  /// Runs the command that `arguments` ask for. Failures are told on the standard error.
  private static func run(_ arguments: [String]) -> ExitStatus {
    do {
      var command = try parseAsRoot(arguments)
      try command.run()
      return .done
    } catch let error as ImageError {
      complain(error.description)
      return ExitStatus(error.returnValue)
    } catch {
      return tell(whatTheParserSays: error)
    }
  }

  /// Help and the version go to the standard output; what was not understood, to the standard error.
  private static func tell(whatTheParserSays error: any Error) -> ExitStatus {
    let message = fullMessage(for: error)
    guard exitCode(for: error).isSuccess else {
      writeToStandardError(message + "\n")
      return .usage
    }
    do throws(ImageError) {
      if !message.isEmpty { try StandardOutput.write(Array((message + "\n").utf8)) }
      return .done
    } catch {
      complain(error.description)
      return ExitStatus(error.returnValue)
    }
  }
}
