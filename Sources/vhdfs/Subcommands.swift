import ArgumentParser

extension VHDFS {
  /// In the order in which `--help` lists them.
  static let subcommands: [any ParsableCommand.Type] = [
    MountCommand.self,
    UnmountCommand.self,
    InfoCommand.self,
    MapCommand.self,
    TrackingCommand.self,
    PointCommand.self,
    ChangesCommand.self,
    CreateCommand.self,
    CompactCommand.self,
    MergeCommand.self,
    JobCommand.self,
  ]
}
