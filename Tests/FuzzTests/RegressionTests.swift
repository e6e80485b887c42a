import Glibc
import TestSupport
import Testing

/// The inputs that fuzzing found, and few that reach what all found inputs reach together, run again.
///
/// They lie in `Regressions/TARGET/`. To look at one by itself: `scripts/fuzz TARGET FILE`.
@Suite struct RegressionTests {
  @Test(arguments: FuzzTarget.all.map(\.name))
  func keptInputs(_ name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    for path in Self.inputs(of: name) {
      let input = try readFile(path)
      do {
        try input.withUnsafeBytes { try target.run($0) }
      } catch {
        Issue.record("\(path): \(error)")
      }
    }
  }

  /// Without kept inputs a target would be tested by nothing.
  @Test(arguments: FuzzTarget.all.map(\.name))
  func inputsMadeFromOwnImages(_ name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    let inputs = target.inputs(from: SeedImages.own)
    #expect(!inputs.isEmpty)
    for input in inputs {
      #expect(throws: Never.self) { try input.withUnsafeBytes { try target.run($0) } }
    }
  }

  /// Changed by the rules of the mutator, but with a seed of its own and no compiler's help: a look, not a search.
  @Test(arguments: FuzzTarget.all.map(\.name))
  func someChangedInputs(_ name: String) throws {
    let target = try #require(FuzzTarget.named(name))
    let inputs = target.inputs(from: SeedImages.own)
    var mutation = Mutation(seed: 1) { bytes, _ in bytes.reversed() }
    for round in 0..<40 {
      let input = inputs[round % inputs.count]
      let changed = input.withUnsafeBytes { mutation.changed($0, for: target, maximum: target.maximumLength) }
      #expect(throws: Never.self) { try changed.withUnsafeBytes { try target.run($0) } }
    }
  }

  private func readFile(_ path: String) throws -> [UInt8] {
    let file = try OpenFile(path)
    return try file.read(at: 0, count: Int(file.size))
  }

  private static func inputs(of name: String) -> [String] {
    let folder = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(
      separator: "/")
    return ((try? names(in: "\(folder)/Regressions/\(name)")) ?? []).sorted().map {
      "\(folder)/Regressions/\(name)/\($0)"
    }
  }
}
