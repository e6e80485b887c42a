import ArgumentParser
import Storage

struct CreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Makes a new image.")

  func run() throws {
    throw ImageError(.notSupported, "create: not built yet")
  }
}
