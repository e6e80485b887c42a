import TestSupport
import Testing

/// The program on damaged images: a clear error or an answer, in little time and memory, and no crash.
@Suite(.requiresCorpus)
struct HostileProgramTests {
  static let images = Corpus.images.filter { $0.path.hasPrefix("hostile/") || $0.expectation == .note }

  private static let seconds = 10.0
  private static let memory: UInt64 = 256 << 20

  @Test(arguments: images)
  func infoAndMapStayBounded(image: CorpusImage) throws {
    let parents = try ["--parents", HostileCorpus.directory()]
    let path = try "\(Corpus.unpacked())/\(image.path)"
    for command in [["info"], ["info", "--chain", "--json"], ["map"]] {
      let result = try Vhdfs.run(command + parents + [path], timeout: Self.seconds)
      #expect(!result.timedOut && result.peakMemory < Self.memory, "\(result.summary)")
      // 128 and more: killed by a signal.
      #expect(result.status < 128, "\(result.summary)")
      if result.status != 0 {
        let lines = result.errors.split(separator: "\n").filter { !$0.contains("warning") }
        #expect(lines.count == 1, "\(result.summary)")
        #expect(result.errors.contains(image.name), "\(result.summary)")
      }
      if image.expectation == .refused && command[0] == "map" {
        #expect(result.status != 0, "\(result.summary)")
      }
    }
  }
}
