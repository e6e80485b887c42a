import Glibc
import TestSupport
import Testing

@testable import MountedView

/// Jobs of a mount: what its files answer.
@Suite(.requiresMount) struct JobMountTests {
  @Test func aWriteReturnsWhenTheJobIsDone() throws {
    let mount = try JobMount()
    #expect(try textOfFile(mount.control("job")) == "")
    #expect(try textOfFile(mount.control(TimedOperation.word)) == "")
    #expect(mount.order("milliseconds=300\n") == 0)
    #expect(try mount.fact("job_state") == "7 completed")
    #expect(try mount.fact("percent_complete") == "100")
    #expect(try mount.fact("blocks_freed", in: TimedOperation.word) == "7")
    #expect(try mount.fact("state", in: "info") == "offline")
    #expect(try textOfFile("\(mount.point)/.jobs/1") == textOfFile(mount.control("job")))
    let json = try textOfFile("\(mount.point)/.jobs/1?format=json")
    #expect(json.hasPrefix("{\n  \"id\": 1,\n") && json.contains("\"blocks_freed\": 7"))
    #expect(try textOfFile(mount.control("job?format=json")) == json)
    #expect(try textOfFile(mount.control("\(TimedOperation.word)?format=json")) == json)
    #expect(try names(in: "\(mount.point)/.jobs") == ["1"])
    #expect(try names(in: mount.point) == [".jobs", "a.vhdx"])
    try mount.unmount()
  }

  @Test func thereIsNoOtherJob() throws {
    let mount = try JobMount()
    #expect(try names(in: "\(mount.point)/.jobs") == [])
    #expect(try names(in: mount.point) == ["a.vhdx"])
    for name in ["1", "0", "01", "x", "1?format=xml"] { #expect(!fileExists("\(mount.point)/.jobs/\(name)")) }
    #expect(mount.order("") == 0)
    try mount.unmount()
  }

  @Test func whatIsWrongIsNoJob() throws {
    let mount = try JobMount()
    for line in ["bogus\n", "wait=x\n", "\"open\n"] { #expect(mount.order(line) == EINVAL, "\(line)") }
    #expect(try textOfFile(mount.control("error")).contains("quotation mark"))
    #expect(try textOfFile(mount.control("job")) == "")
    // Only what is written alone is an empty order.
    #expect(mount.order("\n") == 0)
    #expect(try mount.fact("job_state") == "7 completed")
    var file: TestSupport.OpenFile? = try TestSupport.OpenFile(mount.control(TimedOperation.word), O_RDWR)
    try file?.write(Array("milliseconds=10".utf8), at: 0)
    try file?.write([0x0A], at: 15)
    let id = try mount.fact("id")
    usleep(100_000)
    #expect(try mount.fact("id") == id)
    // The answer on the same descriptor.
    let answer = String(decoding: try file?.read(at: 16, count: 4096) ?? [], as: UTF8.self)
    #expect(answer.contains("job_state 7 completed"))
    file = nil
    try mount.unmount()
  }

  @Test func aFailureIsTheErrnoOfTheWrite() throws {
    let mount = try JobMount()
    #expect(mount.order("milliseconds=50 fail\n") == ENOSPC)
    #expect(try mount.fact("job_state") == "10 failed")
    #expect(try mount.fact("hresult") == "0x80070070")
    #expect(try mount.fact("child") == "\(mount.images)/a.vhdx")
    #expect(try textOfFile(mount.control("error")).contains("the host is full"))
    try mount.unmount()
  }

  @Test func asyncReturnsAtTheStart() throws {
    let mount = try JobMount(images: ["a.vhdx", "b.vhdx"])
    let began = now()
    // Longer than a busy machine makes this test wait.
    #expect(mount.order("async milliseconds=8000\n") == 0)
    #expect(mount.order("async milliseconds=8000\n", of: "b.vhdx") == 0)
    #expect(now() - began < 8)
    // For a moment it is starting.
    #expect(try eventually(within: 4) { try mount.fact("job_state") == "4 running" })
    #expect(try mount.fact("return_value") == "4096")
    #expect(try mount.fact("state", in: "info") == "busy")
    // The image is the job's alone.
    #expect(open("\(mount.point)/a.vhdx/disk", O_RDONLY) == -1 && errno == EBUSY)
    #expect(mount.order("async bogus\n") == EBUSY)
    #expect(try textOfFile(mount.control("error")).contains("job 1 (\(TimedOperation.word))"))
    #expect(try eventually(within: 40) { try mount.fact("job_state") == "7 completed" })
    #expect(try eventually(within: 40) { try mount.fact("job_state", of: "b.vhdx") == "7 completed" })
    #expect(mount.order("async bogus\n") == EINVAL)
    try mount.unmount()
  }

  @Test func waitBoundsTheWait() throws {
    let mount = try JobMount()
    let began = now()
    #expect(mount.order("wait=1 milliseconds=8000\n") == ETIMEDOUT)
    #expect(now() - began > 0.9 && now() - began < 8)
    #expect(try mount.fact("job_state") == "4 running")
    let job = "job 1 (\(TimedOperation.word))"
    #expect(try textOfFile(mount.control("error")).contains("\(job) had not ended after 1 s"))
    #expect(try eventually(within: 40) { try mount.fact("job_state") == "7 completed" })
    #expect(mount.order("wait=20 milliseconds=10\n") == 0)
    try mount.unmount()
  }

  /// The wait begins with the job: what is refused is refused, however short it is, and 0 means the start.
  @Test func waitBeginsWithTheJob() throws {
    let mount = try JobMount()
    for _ in 0..<20 { #expect(mount.order("bogus wait=0\n") == EINVAL) }
    var disk: TestSupport.OpenFile? = try TestSupport.OpenFile("\(mount.point)/a.vhdx/disk")
    #expect(try disk?.read(at: 0, count: 512).count == 512)
    for wait in [0, 1] { #expect(mount.order("milliseconds=1 wait=\(wait)\n") == EBUSY) }
    #expect(try textOfFile(mount.control("error")).contains("a.vhdx is open"))
    #expect(try textOfFile(mount.control("job")) == "")
    disk = nil
    #expect(eventually(within: 20) { mount.order("milliseconds=8000 wait=0\n") == ETIMEDOUT })
    let id = try mount.fact("id") ?? ""
    let sentence = "job \(id) (\(TimedOperation.word)) had not ended after 0 s, and goes on"
    #expect(try textOfFile(mount.control("error")).contains(sentence))
    #expect(try eventually(within: 4) { try mount.fact("job_state") == "4 running" })
    #expect(try eventually(within: 40) { try mount.fact("job_state") == "7 completed" })
    #expect(try mount.fact("id") == id)
    try mount.unmount()
  }

  @Test func cancelEndsAJob() throws {
    let mount = try JobMount()
    #expect(mount.order("now\n", "cancel") == EPERM)
    #expect(mount.order("async milliseconds=60000\n") == 0)
    let began = now()
    #expect(mount.order("\n", "cancel") == 0)
    #expect(try eventually(within: 2) { try mount.fact("job_state") == "8 cancelled" })
    #expect(now() - began < 1)
    #expect(try mount.fact("hresult") == "0x800704C7")
    #expect(try mount.fact("state", in: "info") == "offline")
    try mount.unmount()
  }

  @Test func anImageThatIsOpenIsRefused() throws {
    let mount = try JobMount()
    var disk: TestSupport.OpenFile? = try TestSupport.OpenFile("\(mount.point)/a.vhdx/disk")
    #expect(try disk?.read(at: 0, count: 512).count == 512)
    #expect(mount.order("milliseconds=1\n") == EBUSY)
    #expect(try textOfFile(mount.control("error")).contains("a.vhdx is open"))
    disk = nil
    // A file that was closed just now is released a moment later.
    #expect(mount.order("milliseconds=1\n") == 0)
    try mount.unmount()
  }

  @Test func theJobOutlivesTheImage() throws {
    let mount = try JobMount(images: ["a.vhdx", "b.vhdx"])
    #expect(mount.order("milliseconds=1\n") == 0)
    #expect(mount.order("milliseconds=1\n", of: "b.vhdx") == 0)
    var old: TestSupport.OpenFile? = try TestSupport.OpenFile(mount.control(TimedOperation.word), O_RDWR)
    try runChecked(["rm", "\(mount.images)/a.vhdx"])
    #expect(eventually(within: 5) { !fileExists("\(mount.point)/a.vhdx/disk") })
    #expect(try textOfFile("\(mount.point)/.jobs/1").contains("image a.vhdx\n"))
    // Its directory can be looked up, and has what tells of the job and nothing else.
    #expect(try names(in: mount.point) == [".jobs", "b.vhdx"])
    #expect(try names(in: "\(mount.point)/a.vhdx") == ["control"])
    #expect(try names(in: mount.control("")) == ["cancel", TimedOperation.word, "error", "job"])
    for name in ["info", "chain", "tracking", "map", "changes", "merge", "info?format=json"] {
      #expect(!fileExists(mount.control(name)), "\(name)")
    }
    for name in ["partitions", "points"] { #expect(!fileExists("\(mount.point)/a.vhdx/\(name)")) }
    #expect(try mount.fact("job_status") == "completed; its file was removed or replaced")
    #expect(try mount.fact("blocks_freed", in: TimedOperation.word) == "7")
    #expect(try textOfFile(mount.control("job?format=json")).contains("\"id\": 1"))
    #expect(mount.order("\n", "cancel") == EPERM)
    #expect(mount.order("milliseconds=1\n") == ESTALE)
    #expect(throws: (any Error).self) { try old?.write(Array("milliseconds=1".utf8), at: 0) }
    old = nil
    #expect(try textOfFile(mount.control("error")).contains("is gone"))
    // A new image takes the name back, with no job of its own.
    try Vhdfs.create("\(mount.images)/a.vhdx", ["--size", "64M"])
    #expect(eventually(within: 5) { fileExists("\(mount.point)/a.vhdx/disk") })
    #expect(try textOfFile(mount.control("job")) == "" && textOfFile(mount.control("error")) == "")
    #expect(try mount.fact("state", in: "info") == "offline")
    #expect(mount.order("milliseconds=1\n") == 0)
    #expect(try mount.fact("id") == "3")
    #expect(try mount.fact("id", of: "b.vhdx") == "2")
    try mount.unmount()
  }

  @Test func aJobWhoseImageIsGoneCanBeCancelled() throws {
    let mount = try JobMount()
    #expect(mount.order("async milliseconds=60000\n") == 0)
    try runChecked(["rm", "\(mount.images)/a.vhdx"])
    #expect(eventually(within: 5) { !fileExists("\(mount.point)/a.vhdx/disk") })
    #expect(try mount.fact("job_state") == "4 running")
    #expect(mount.order("job=2\n", "cancel") == EPERM)
    #expect(mount.order("job=1\n", "cancel") == 0)
    #expect(try eventually(within: 2) { try mount.fact("job_state") == "8 cancelled" })
    #expect(try textOfFile(mount.control("error")).contains("was cancelled"))
    try mount.unmount()
  }

  /// A job is its file's. One that gets the name meanwhile has nothing to do with it.
  @Test func aJobIsItsFilesJob() throws {
    let mount = try JobMount()
    try Vhdfs.create("\(mount.root.path)/new.vhdx", ["--size", "32M"])
    #expect(mount.order("async milliseconds=60000\n") == 0)
    try runChecked(["mv", "\(mount.root.path)/new.vhdx", "\(mount.images)/a.vhdx"])
    #expect(try eventually(within: 5) { try mount.fact("virtual_size", in: "info") == "33554432" })
    #expect(try eventually(within: 5) { try textOfFile(mount.control("job")) == "" })
    #expect(try textOfFile(mount.control(TimedOperation.word)) == "")
    #expect(try mount.fact("state", in: "info") == "offline")
    #expect(try TestSupport.OpenFile("\(mount.point)/a.vhdx/disk").read(at: 0, count: 512).count == 512)
    #expect(try textOfFile("\(mount.point)/.jobs/1").contains("its file was removed or replaced\n"))
    // It has a job of its own beside the other, which only its number means.
    #expect(mount.order("milliseconds=1\n") == 0)
    #expect(try mount.fact("job_state") == "7 completed" && mount.fact("id") == "2")
    #expect(mount.order("\n", "cancel") == EPERM)
    #expect(mount.order("job=1\n", "cancel") == 0)
    #expect(
      try eventually(within: 2) { try textOfFile("\(mount.point)/.jobs/1").contains("job_state 8 cancelled") }
    )
    #expect(try mount.fact("job_state") == "7 completed")
    try mount.unmount()
  }

  /// A file that got another name takes its job with it; the old name tells of it too.
  @Test func aJobFollowsItsFile() throws {
    let mount = try JobMount()
    #expect(mount.order("async milliseconds=60000\n") == 0)
    try runChecked(["mv", "\(mount.images)/a.vhdx", "\(mount.images)/b.vhdx"])
    #expect(eventually(within: 5) { fileExists("\(mount.point)/b.vhdx/control/info") })
    #expect(try mount.fact("state", in: "info", of: "b.vhdx") == "busy")
    #expect(
      try eventually(within: 5) { try mount.fact("job_status", of: "b.vhdx")?.contains("removed") == false })
    #expect(mount.order("async milliseconds=1\n", of: "b.vhdx") == EBUSY)
    #expect(try mount.fact("id") == "1" && mount.fact("id", of: "b.vhdx") == "1")
    #expect(mount.order("\n", "cancel", of: "b.vhdx") == 0)
    #expect(try eventually(within: 2) { try mount.fact("job_state") == "8 cancelled" })
    try mount.unmount()
  }

  /// Names with anything in them are escaped once, and the same everywhere.
  @Test func aSentenceIsEscapedOnce() throws {
    let name = "a\\b\n\u{1B}[31m\"'.vhdx"
    let shown = #"a\134b\012\033[31m"'.vhdx"#
    let mount = try JobMount(images: [name])
    #expect(mount.order("milliseconds=1 fail\n", of: name) == ENOSPC)
    let sentence = "\(mount.images)/\(shown): the host is full"
    #expect(try textOfFile(mount.control("error", of: name)) == "\(sentence)\n")
    #expect(try mount.fact("error_description", of: name) == sentence)
    #expect(try mount.fact("image", of: name) == shown)
    #expect(try mount.fact("child", of: name) == "\(mount.images)/\(shown)")
    #expect(mount.messages.all.contains { $0.contains(sentence) })
    #expect(!mount.messages.all.contains { $0.utf8.contains { $0 < 0x20 } })
    let json = try textOfFile(mount.control("job?format=json", of: name))
    #expect(json.contains(#"a\\134b\\012\\033[31m\"'.vhdx: the host is full""#), "\(json)")
    try mount.unmount()
  }

  @Test func anUnmountCancelsAndWaits() throws {
    let mount = try JobMount()
    #expect(mount.order("async milliseconds=60000\n") == 0)
    let began = now()
    try mount.unmount()
    #expect(now() - began < 5)
    #expect(
      mount.messages.all.contains { $0.contains("is cancelled at its next safe point, and waited for") })
    #expect(mount.messages.all.contains { $0.contains("was cancelled") })
  }

  @Test func percentNeverFallsAndTakesSmallSteps() throws {
    let mount = try JobMount()
    #expect(mount.order("async milliseconds=3000\n") == 0)
    var last = 0
    while last >= 0 {
      let percent = try Int(mount.fact("percent_complete") ?? "") ?? -1
      try #require(percent >= last && percent - last <= 5)
      last = percent
      if percent == 100 { break }
      usleep(10_000)
    }
    #expect(try eventually(within: 1) { try mount.fact("job_state") == "7 completed" })
    try mount.unmount()
  }

  @Test func theKernelsLimitOnRequests() throws {
    let directory = try TemporaryDirectory()
    #expect(KernelTimeout.seconds(in: directory.path) == nil)
    let none = KernelTimeout(directory: directory.path)
    try writeFile(directory.file("default_request_timeout"), Array("0\n".utf8))
    try writeFile(directory.file("max_request_timeout"), Array("0\n".utf8))
    try none.failIfThereIsOne("a", "compact")
    try writeFile(directory.file("max_request_timeout"), Array("600\n".utf8))
    #expect(KernelTimeout.seconds(in: directory.path) == 600)
    try writeFile(directory.file("default_request_timeout"), Array("60\n".utf8))
    #expect(KernelTimeout.seconds(in: directory.path) == 60)
    // Set after the mount was made: it may be the mount's by now, for all that is known.
    #expect(throws: (any Error).self) { try none.failIfThereIsOne("a", "compact") }
    // Set when the mount was made, and no more: the kernel goes on by it.
    let set = KernelTimeout(directory: directory.path)
    for name in ["default_request_timeout", "max_request_timeout"] {
      try writeFile(directory.file(name), Array("0\n".utf8))
    }
    let error = #expect(throws: (any Error).self) { try set.failIfThereIsOne("a", "compact") }
    #expect("\(error.map { "\($0)" } ?? "")".contains("longer than 60 s"))
    try none.failIfThereIsOne("a", "compact")
  }

  @Test(arguments: [
    // Nothing; a resized terminal; a child's end; stopped and going on.
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n", false),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000008000000\n", false),
    ("SigPnd:\t0000000000010000\nShdPnd:\t0000000000000000\n", false),
    ("SigPnd:\t0000000000040000\nShdPnd:\t0000000000060000\n", false),
    // INT, QUIT, TERM, HUP, KILL, to the process or the thread.
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\n", true),
    ("SigPnd:\t0000000000000002\nShdPnd:\t0000000000000000\n", true),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000004\n", true),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\n", true),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000001\n", true),
    ("SigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n", true),
    // Blocked or ignored: it does not end the call.
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0000000000000002\n", false),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigIgn:\t0000000000000002\n", false),
    ("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004002\nSigBlk:\t0000000000000002\n", true),
    ("", false),
  ]) func whichSignalsMeanAnEnd(_ status: String, _ wantsEnd: Bool) {
    #expect(CallerSignals.wantEnd(status: status) == wantsEnd)
  }
}
