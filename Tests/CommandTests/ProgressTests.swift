import Glibc
import TestSupport
import Testing

/// How commands show that they are at work, and how they are ended.
@Suite(.requiresMount, .serialized) struct ProgressTests {
  @Test(.requiresPrograms("python3")) func eventsAndLines() throws {
    let merge = try LongMerge()
    let events = try Vhdfs.run(["merge", "--json", merge.child])
    #expect(events.succeeded && events.errors.isEmpty, "\(events.summary)")
    let script = """
      import json, sys
      events = [json.loads(line) for line in sys.argv[1].splitlines()]
      assert [event["event"] for event in events if event["event"] != "progress"] == ["started", "finished"], events
      percents = [event["percent_complete"] for event in events if event["event"] == "progress"]
      assert percents == sorted(percents), percents
      assert events[0]["operation"] == "merge" and events[-1]["bytes_copied"] == \(LongMerge.bytes), events
      """
    try runChecked(["python3", "-c", script, events.output])
    // Once more: nothing forbids it.
    let lines = try Vhdfs.run(["merge", merge.child])
    #expect(lines.succeeded && lines.output.contains("bytes_copied"), "\(lines.summary)")
    let percents = lines.errors.split(separator: "\n").map { line -> Int in
      line.hasPrefix("vhdfs: merge: ") ? Int(line.dropFirst(14).prefix { $0.isNumber }) ?? -1 : -1
    }
    #expect(!percents.contains(-1) && percents == percents.sorted(), "\(lines.summary)")
    #expect(percents.count <= 20)
  }

  @Test(.requiresPrograms("script")) func aBarOnATerminal() throws {
    let merge = try LongMerge()
    let command = "'\(Vhdfs.program)' merge '\(merge.child)'"
    let shown = try runChecked(["script", "-qefc", command, "/dev/null"])
    #expect(shown.contains("\rmerge ") && shown.contains(" % [") && shown.contains("#"), "\(shown)")
    #expect(shown.contains("bytes_copied \(LongMerge.bytes)"), "\(shown)")
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
  func aSignalCancels(_ signal: Int32) throws {
    let merge = try LongMerge()
    let running = try RunningProgram([Vhdfs.program, "merge", "--json", merge.child])
    #expect(eventually(within: 10) { running.output.contains("\"started\"") })
    running.signal(signal)
    let began = now()
    let result = running.wait(timeout: 20)
    #expect(now() - began < 1.5)
    #expect(result.status == 128 + signal, "\(result.summary)")
    #expect(
      result.output.split(separator: "\n").last?.contains("\"event\": \"failed\"") == true,
      "\(result.summary)")
    #expect(result.errors.contains("was cancelled; it can be run again"), "\(result.summary)")
    try Vhdfs.runChecked(["merge", merge.child])
  }
}
