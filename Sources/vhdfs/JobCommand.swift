import ArgumentParser
import Storage

struct JobCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "job",
    abstract: "Lists, shows and cancels the jobs of a mount.",
    discussion: """
      A job is one run of an operation that was written to a control file: echo quick > MOUNT/IMAGE/control/compact. It \
      is shown for five minutes after its end. (An operation that a command runs itself, with no mount, is no job: the \
      command shows how far it is, and Ctrl-C cancels it.)

      PLACE is the directory of a mount, or for the jobs of one image its directory in the mount, or the image file.

      EXAMPLES
        vhdfs job list /mnt/images
        vhdfs job show /mnt/images/disk.vhdx
        vhdfs job cancel /mnt/images 7
      """,
    subcommands: [JobListCommand.self, JobShowCommand.self, JobCancelCommand.self])
}

/// What all of them take.
struct JobArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("A mount's directory, an image's directory in it, or an image.", valueName: "place"),
    completion: .file())
  var place: String

  @Argument(
    help: ArgumentHelp(
      "The job's number; without it, of an image, the running or the last one.", valueName: "job"))
  var job: UInt64?
}

struct JobListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the jobs, oldest first.",
    discussion: """
      A line for each: job, its number, the operation, its state, the percentage done, and the image's name.

      EXAMPLES
        vhdfs job list /mnt/images
        vhdfs job list --json disk.vhdx
      """)

  @Argument(
    help: ArgumentHelp("A mount's directory, an image's directory in it, or an image.", valueName: "place"),
    completion: .file())
  var place: String

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let place = try JobPlace(place)
    var output: [UInt8] = Array((json ? "{\n\"jobs\": [" : "").utf8)
    var isFirst = true
    for job in place.jobs {
      // One that is not shown any more since is left out.
      guard let facts = try? place.facts(of: job, json: json) else { continue }
      if json {
        output += isFirst ? "\n".utf8 : ",\n".utf8
        output += facts.dropLast()
      } else {
        output += line(place, job).utf8
      }
      isFirst = false
    }
    if json { output += "\n]\n}\n".utf8 }
    try StandardOutput.write(output)
  }

  private func line(_ place: JobPlace, _ job: UInt64) -> String {
    let state = place.fact("job_state", of: job)?.split(separator: " ").last ?? "-"
    let operation = place.fact("operation", of: job) ?? "-"
    let percent = place.fact("percent_complete", of: job) ?? "-"
    return "job \(job) \(operation) \(state) \(percent) \(place.fact("image", of: job) ?? "-")\n"
  }
}

struct JobShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows all facts of a job.",
    discussion: """
      One fact a line, a key and a value, as control/job has them.

      EXAMPLES
        vhdfs job show disk.vhdx
        vhdfs job show --json /mnt/images 7
      """)

  @OptionGroup var arguments: JobArguments

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let place = try JobPlace(arguments.place)
    try StandardOutput.write(place.facts(of: place.job(arguments.job), json: json))
  }
}

struct JobCancelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "Cancels a job, and waits until it has ended.",
    discussion: """
      The job ends at its next safe point, within a second as a rule: the image is valid then, and the operation can be \
      run again.

      EXAMPLES
        vhdfs job cancel disk.vhdx
        vhdfs job cancel /mnt/images 7
      """)

  @OptionGroup var arguments: JobArguments

  func run() throws {
    let place = try JobPlace(arguments.place)
    try place.cancel(place.job(arguments.job))
  }
}
