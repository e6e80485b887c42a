import Glibc
import Storage
import Synchronization
import Testing
import VirtualDisk

@testable import ImageManagement

/// The engine, with operations made here.
@Suite struct JobListTests {
  private static let library = Result { () throws(ImageError) in try DiskLibrary(sources: ["/sys"]) }

  /// A file of its own for each name.
  private func file(_ image: String, _ device: UInt64 = 1) -> FileIdentity {
    FileIdentity(device: device, inode: image.utf8.reduce(0) { $0 &* 131 &+ UInt64($1) })
  }

  private func entry(_ name: String, _ file: FileIdentity) -> ImageEntry {
    ImageEntry(
      name: name, path: "/srv/\(name)", identity: file, facts: .success(Sample.base), readOnlyReason: nil,
      isOnline: false)
  }

  /// Starts a job for `image`, whose name no other test has.
  @discardableResult
  private func start(
    _ list: JobList, _ image: String, _ script: ScriptedOperation.Script, _ words: OperationWords = .init(),
    file: FileIdentity? = nil, confirm: @escaping @Sendable () throws(ImageError) -> Void = {},
    observer: @escaping @Sendable (Job, JobList.Event) -> Void = { _, _ in }
  ) throws -> Job {
    ScriptedOperation.set(script, for: image)
    return try list.start(
      ScriptedOperation.self, words, image: image, file: file ?? self.file(image),
      library: JobListTests.library.get(), confirm: confirm, observer: observer)
  }

  private func facts(_ job: Job) -> [String: String] {
    var facts: [String: String] = [:]
    for line in text(JobReport(job).bytes(as: .text)).split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      facts[String(parts[0])] = String(parts[1])
    }
    return facts
  }

  @Test func aJobRunsThroughItsStates() throws {
    let clock = HandClock()
    let list = JobList(clock: clock.clock)
    let (diary, checked, halfway, goOn) = (JobDiary(), Door(), Door(), Door())
    let script = ScriptedOperation.Script(
      check: { _ in checked.wait() },
      body: { progress in
        progress.expect(1000)
        progress.advance(by: 420)
        halfway.open()
        goOn.wait()
        return [ReportField("blocks_freed", .number(7))]
      })
    let job = try start(list, "states.vhdx", script, observer: diary.note)
    #expect(job.state == .new && job.id == 1)
    #expect(list.jobs.isEmpty)
    #expect(list.underway(on: file("states.vhdx")) === job)
    checked.open()
    halfway.wait()
    clock.advance(milliseconds: 2050)
    #expect(job.state == .running)
    #expect(list.jobs.map(\.id) == [1])
    var facts = facts(job)
    #expect(facts["image"] == "states.vhdx")
    #expect(facts["operation"] == "compact")
    #expect(facts["job_type"] == "3 compaction")
    #expect(facts["job_state"] == "4 running")
    #expect(facts["job_status"] == "running: 420 of 1000 bytes")
    #expect(facts["percent_complete"] == "42")
    #expect(facts["return_value"] == "4096")
    #expect(facts["error_code"] == "0")
    #expect(facts["start_time"] == "2025-11-21T14:39:59Z")
    #expect(facts["elapsed_time"] == "2.050")
    #expect(facts["cancellable"] == "1")
    #expect(facts["hresult"] == nil && facts["error_description"] == nil && facts["child"] == nil)
    goOn.open()
    list.waitForEnd()
    clock.advance(milliseconds: 5000)
    #expect(diary.lines == ["started 3", "ended 7"])
    #expect(list.underway(on: file("states.vhdx")) == nil)
    #expect(script.closes.load(ordering: .relaxed) == 1)
    facts = self.facts(job)
    #expect(facts["job_state"] == "7 completed")
    #expect(facts["percent_complete"] == "100")
    #expect(facts["return_value"] == "0" && facts["hresult"] == "0x00000000")
    #expect(facts["elapsed_time"] == "2.050")
    #expect(facts["cancellable"] == "0")
    #expect(facts["blocks_freed"] == "7")
  }

  @Test func aFailureTellsWhatAndWhere() throws {
    let list = JobList()
    let script = ScriptedOperation.Script(
      link: OperationLink(child: "/srv/a.avhdx", parent: "/srv/new\nline.vhdx"),
      body: { _ throws(ImageError) in
        throw ImageError(errno: .noSpace, "\(escaped("/srv/a\\\n.avhdx")): the host is full")
      })
    let job = try start(list, "failure.vhdx", script)
    list.waitForEnd()
    let facts = facts(job)
    #expect(facts["job_state"] == "10 failed")
    #expect(facts["return_value"] == "32768" && facts["error_code"] == "32768")
    #expect(facts["hresult"] == "0x80070070")
    #expect(facts["error_description"] == #"/srv/a\134\012.avhdx: the host is full"#)
    #expect(facts["child"] == "/srv/a.avhdx")
    #expect(facts["parent"] == #"/srv/new\012line.vhdx"#)
    #expect(script.closes.load(ordering: .relaxed) == 1)
  }

  @Test func whatIsRefusedIsNoJob() throws {
    let list = JobList()
    let diary = JobDiary()
    let script = ScriptedOperation.Script(check: { _ throws(ImageError) in
      throw ImageError(.invalidParameter, "no such mode")
    })
    try start(list, "refused.vhdx", script, observer: diary.note)
    list.waitForEnd()
    #expect(diary.lines == ["refused no such mode"])
    #expect(list.jobs.isEmpty && list.last(of: file("refused.vhdx")) == nil)
    #expect(list.underway(on: file("refused.vhdx")) == nil)
    // A number is never used again.
    let next = try start(list, "refused.vhdx", .init())
    #expect(next.id == 2)
    list.waitForEnd()
  }

  @Test func anImageHasOneJobAndSeveralImagesHaveTheirs() throws {
    let list = JobList()
    let goOn = Door()
    let waiting = ScriptedOperation.Script(body: { _ in
      goOn.wait()
      return []
    })
    let first = try start(list, "one.vhdx", waiting)
    let error = #expect(throws: ImageError.self) { try start(list, "one.vhdx", waiting) }
    #expect(error?.errno == .resourceBusy)
    #expect(error?.description.contains(first.holder) == true)
    let other = try start(list, "another.vhdx", waiting)
    #expect(other.id == 2)
    goOn.open()
    list.waitForEnd()
    #expect(list.jobs.map(\.id) == [1, 2])
    try start(list, "one.vhdx", waiting)
    list.waitForEnd()
    #expect(list.last(of: file("one.vhdx"))?.id == 3)
    #expect(list.last(of: file("one.vhdx"), operation: "compact")?.id == 3)
    #expect(list.last(of: file("one.vhdx"), operation: "merge") == nil)
    #expect(list.job(2) === other)
  }

  /// A file that gets the name of another does not get its job, nor does one that gets its number.
  @Test func aJobBelongsToItsFile() throws {
    let list = JobList()
    let (begun, goOn) = (Door(), Door())
    let (old, new) = (file("file.vhdx"), file("file.vhdx", 2))
    let job = try start(
      list, "file.vhdx",
      .init(body: { _ in
        begun.open()
        goOn.wait()
        return []
      }), file: old)
    begun.wait()
    list.noteFiles(of: [entry("file.vhdx", old)])
    #expect(list.last(of: old) === job && list.last(of: new) == nil)
    #expect(facts(job)["job_status"] == "running")
    list.noteFiles(of: [entry("file.vhdx", new)])
    #expect(list.underway(on: old) === job && list.underway(on: new) == nil)
    #expect(list.last(of: old) === job && list.last(of: new) == nil)
    #expect(list.last(ofGone: old, named: "file.vhdx") === job)
    #expect(list.hasJob(ofGone: old, named: "file.vhdx") && !list.hasJob(ofGone: old, named: "other.vhdx"))
    #expect(facts(job)["job_status"] == "running; its file was removed or replaced")
    // Under another name it is the same file.
    list.noteFiles(of: [entry("file.vhdx", new), entry("renamed.vhdx", old)])
    #expect(facts(job)["job_status"] == "running")
    list.noteFiles(of: [])
    goOn.open()
    list.waitForEnd()
    #expect(list.last(of: old) == nil)
    #expect(list.last(ofGone: old, named: "file.vhdx") === job)
    list.noteFiles(of: [entry("another.vhdx", old)])
    #expect(list.last(of: old) == nil && list.last(ofGone: old, named: "another.vhdx") == nil)
    #expect(facts(job)["job_status"] == "completed; its file was removed or replaced")
  }

  /// What is not confirmed when the operation has the image is no job, and gives everything back.
  @Test func whatIsNotConfirmedIsNoJob() throws {
    let list = JobList()
    let diary = JobDiary()
    let script = ScriptedOperation.Script()
    try start(
      list, "confirm.vhdx", script,
      confirm: { () throws(ImageError) in throw ImageError(.invalidState, "is another file") },
      observer: diary.note)
    list.waitForEnd()
    #expect(diary.lines == ["refused is another file"])
    #expect(list.jobs.isEmpty && list.underway(on: file("confirm.vhdx")) == nil)
    #expect(script.closes.load(ordering: .relaxed) == 1)
  }

  @Test func cancelEndsItAtASafePoint() throws {
    let list = JobList()
    let begun = Door()
    let script = ScriptedOperation.Script(body: { progress throws(ImageError) in
      begun.open()
      for _ in 0..<10_000 {
        try progress.failIfCancelled("a.vhdx")
        pause(milliseconds: 1)
      }
      return []
    })
    let job = try start(list, "cancelled.vhdx", script)
    begun.wait()
    #expect(job.cancel())
    list.waitForEnd()
    #expect(job.state == .terminated)
    #expect(!job.cancel())
    let facts = facts(job)
    #expect(facts["job_state"] == "8 cancelled")
    #expect(facts["return_value"] == "32768" && facts["hresult"] == "0x800704C7")
  }

  /// A failure for another reason is one, whoever wanted it to end meanwhile; so is a cancel that nobody asked for.
  @Test func notEveryEndIsACancel() throws {
    let list = JobList()
    let (begun, goOn) = (Door(), Door())
    let failing = ScriptedOperation.Script(body: { _ throws(ImageError) in
      begun.open()
      goOn.wait()
      throw ImageError(errno: .ioError, "broken")
    })
    let job = try start(list, "broken.vhdx", failing)
    begun.wait()
    job.cancel()
    goOn.open()
    list.waitForEnd()
    #expect(job.state == .exception)
    let odd = ScriptedOperation.Script(body: { _ throws(ImageError) in
      throw ImageError(errno: .canceled, "odd")
    })
    let second = try start(list, "odd.vhdx", odd)
    list.waitForEnd()
    #expect(second.state == .exception)
  }

  @Test func anEndedJobIsKeptForFiveMinutes() throws {
    let clock = HandClock()
    let list = JobList(clock: clock.clock)
    try start(list, "kept.vhdx", .init())
    list.waitForEnd()
    clock.advance(milliseconds: 300_000)
    #expect(list.jobs.count == 1)
    clock.advance(milliseconds: 1)
    #expect(list.jobs.isEmpty && list.last(of: file("kept.vhdx")) == nil && list.job(1) == nil)
  }

  @Test func aJobThatRunsIsKeptHoweverLong() throws {
    let clock = HandClock()
    let list = JobList(clock: clock.clock)
    let (begun, goOn) = (Door(), Door())
    try start(
      list, "long.vhdx",
      .init(body: { _ in
        begun.open()
        goOn.wait()
        return []
      }))
    begun.wait()
    clock.advance(milliseconds: 4_000_000)
    #expect(list.jobs.count == 1)
    goOn.open()
    list.waitForEnd()
  }

  @Test func endedJobsAreBounded() throws {
    let list = JobList()
    for _ in 0..<(JobList.keptAtMost + 20) {
      try start(list, "many.vhdx", .init())
      list.waitForEnd()
    }
    let jobs = list.jobs
    #expect(jobs.count == JobList.keptAtMost)
    #expect(jobs.first?.id == 21 && jobs.last?.id == UInt64(JobList.keptAtMost) + 20)
  }

  @Test func soManyAtATime() throws {
    let list = JobList()
    let goOn = Door()
    let waiting = ScriptedOperation.Script(body: { _ in
      goOn.wait()
      return []
    })
    for index in 0..<JobList.limit { try start(list, "limit\(index).vhdx", waiting) }
    let error = #expect(throws: ImageError.self) { try start(list, "limit.vhdx", waiting) }
    #expect(error?.returnValue == .notAvailable)
    goOn.open()
    list.waitForEnd()
    try start(list, "limit.vhdx", waiting)
    list.waitForEnd()
  }

  @Test func theEndCancelsAndBeginsNoMore() throws {
    let list = JobList()
    let begun = Door()
    let job = try start(
      list, "ending.vhdx",
      .init(body: { progress throws(ImageError) in
        begun.open()
        while true {
          try progress.failIfCancelled("a")
          pause(milliseconds: 1)
        }
      }))
    begun.wait()
    #expect(list.cancelAll().map(\.id) == [job.id])
    let error = #expect(throws: ImageError.self) { try start(list, "late.vhdx", .init()) }
    #expect(error?.errno.rawValue == ESHUTDOWN)
    list.waitForEnd()
    #expect(job.state == .terminated)
  }

  @Test func aJobInJSON() throws {
    let list = JobList(clock: HandClock().clock)
    let job = try start(
      list, "json.vhdx",
      .init(body: { _ in
        [
          ReportField("file_size_after", .number(12)),
          ReportField(
            "partitions",
            .list(
              item: "partition",
              [
                [ReportField("number", .number(1)), ReportField("file_system", .text("nt\"fs"))],
                [ReportField("number", .number(2)), ReportField("file_system", .text("ext4"))],
              ])),
        ]
      }))
    list.waitForEnd()
    #expect(
      text(JobReport(job).bytes(as: .json)) == #"""
        {
          "id": 1,
          "image": "json.vhdx",
          "operation": "compact",
          "job_type": "3 compaction",
          "job_state": "7 completed",
          "job_status": "completed",
          "percent_complete": 100,
          "return_value": 0,
          "error_code": 0,
          "hresult": "0x00000000",
          "start_time": "2025-11-21T14:39:59Z",
          "elapsed_time": 0.000,
          "cancellable": false,
          "file_size_after": 12,
          "partitions": [{"number": 1, "file_system": "nt\"fs"}, {"number": 2, "file_system": "ext4"}]
        }

        """#)
    #expect(
      text(JobReport(job).bytes(as: .text)).hasSuffix(
        "\npartitions 2\npartition 1 nt\"fs\npartition 2 ext4\n"))
  }

  @Test func theWordsOfWhoWaits() throws {
    var order = try JobOrder(line: "quick async wait=5")
    #expect(order.isAsynchronous && order.longestWait == 5)
    #expect(order.words.line == "quick")
    order = try JobOrder(line: "")
    #expect(!order.isAsynchronous && order.longestWait == nil && order.words.isEmpty)
    for bad in ["wait=", "wait=x", "wait=-1", "wait=1.5", "wait=1 wait=2"] {
      #expect(throws: ImageError.self, "\(bad)") { try JobOrder(line: bad) }
    }
    #expect(try JobOrder(line: "wait=99999999999999999999999").longestWait == 86400 * 365)
  }
}
