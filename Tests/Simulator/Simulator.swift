import ArgumentParser

/// Long runs of what the tests hold a short, fixed part of.
@main
struct Simulator: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Random histories and power cuts against a model of what a disk must read as.",
    subcommands: [
      SimulateCommand.self, FaultsCommand.self,
      CrashCommand.self,
    ])
}
