import Testing

@testable import MountedView

@Suite struct OpenFilesTests {
  @Test func theLastOneIsToldOnlyWhenStopping() {
    let files = OpenFiles()
    #expect(files.begin())
    #expect(!files.end())
    #expect(files.begin())
    #expect(files.begin())
    #expect(files.stop() == 2)
    #expect(!files.begin())
    #expect(!files.end())
    #expect(files.end())
  }
}
