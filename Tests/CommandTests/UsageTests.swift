import TestSupport
import Testing

@Suite("How the command line answers")
struct UsageTests {
  @Test(arguments: [
    ["infoo"], ["--nope"], ["info"], ["info", "--nope", "a.vhdx"], ["info", "a.vhdx", "b.vhdx"], ["map"],
    ["create", "a.vhdx"], ["create", "--size", "10GB", "a.vhdx"], ["create", "--size", "-1", "a.vhdx"],
    ["create", "--size", "99999999999T", "a.vhdx"], ["create", "--size", "1G", "noending"],
    ["create", "--type", "differencing", "--size", "1G", "a.vhdx"],
    ["create", "--type", "fixed", "--parent", "b.vhdx", "a.vhdx"],
    ["create", "--type", "odd", "-s", "1G", "a.vhdx"],
    ["mount", "a.vhdx"], ["mount", "", "m"], ["mount", "a.vhdx", ""], ["unmount"],
  ])
  func whatIsNotUnderstoodIs64(_ words: [String]) throws {
    let result = try Vhdfs.run(words)
    #expect(result.status == 64, "\(result.summary)")
    #expect(result.errors.hasPrefix("vhdfs: "))
    #expect(result.output.isEmpty)
  }

  @Test func theVersionIsOneLine() throws {
    let result = try Vhdfs.run(["--version"])
    #expect(result.status == 0)
    #expect(result.output.wholeMatch(of: /vhdfs [0-9]+\.[0-9]+\.[0-9]+\n/) != nil, "\(result.output)")
    #expect(result.errors.isEmpty)
  }

  @Test(arguments: [
    "mount", "unmount", "info", "map", "create", "tracking", "point", "changes", "compact", "merge", "job",
  ])
  func eachCommandHasHelpWithExamples(_ command: String) throws {
    let result = try Vhdfs.run([command, "--help"])
    #expect(result.status == 0)
    #expect(result.output.contains("OVERVIEW: "))
    #expect(result.output.contains("EXAMPLES\n  vhdfs \(command) "))
    // A default is shown as it is typed.
    #expect(!result.output.contains("ByteCount("))
    #expect(result.errors.isEmpty)
  }

  @Test(.requiresPrograms("bash"), arguments: ["bash"])
  func completionIsAScript(_ shell: String) throws {
    let directory = try TemporaryDirectory()
    let script = try Vhdfs.runChecked(["--generate-completion-script", shell])
    #expect(script.contains("create"))
    try writeFile(directory.file("completion"), Array(script.utf8))
    try runChecked([shell, "-n", directory.file("completion")])
  }

  @Test(.requiresPrograms("python3"))
  func eachCommandHasAManualPage() throws {
    let directory = try TemporaryDirectory()
    try runChecked([Project.file("scripts/man-pages"), Vhdfs.program, directory.path])
    let expected = [
      "", "-changes", "-compact", "-create", "-info", "-job", "-map", "-merge", "-mount", "-point",
      "-tracking", "-unmount",
    ]
    .map { "vhdfs\($0)" }
    #expect(try names(in: directory.path) == expected.map { "\($0).1" }.sorted())
    for name in expected {
      let page = try textOfFile(directory.file("\(name).1"))
      for heading in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH OPTIONS", ".SH EXIT STATUS"] {
        #expect(page.contains(heading), "\(name): \(heading)")
      }
    }
  }

  @Test func aFullOutputIsAFailure() throws {
    let result = try run(["sh", "-c", "'\(Vhdfs.program)' --version >/dev/full"])
    #expect(result.status == 10)
    #expect(result.errors == "vhdfs: standard output: cannot be written: No space left on device\n")
  }
}
