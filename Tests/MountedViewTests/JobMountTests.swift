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
    #expect(try mount.fact("job_state") == "4 running")
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
    try runChecked(["rm", "\(mount.images)/a.vhdx"])
    #expect(eventually(within: 5) { !fileExists("\(mount.point)/a.vhdx/control") })
    #expect(try textOfFile("\(mount.point)/.jobs/1").contains("image a.vhdx\n"))
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
    try writeFile(directory.file("default_request_timeout"), Array("0\n".utf8))
    try writeFile(directory.file("max_request_timeout"), Array("0\n".utf8))
    try KernelTimeout.failIfThereIsOne("a", "compact", in: directory.path)
    try writeFile(directory.file("max_request_timeout"), Array("600\n".utf8))
    #expect(KernelTimeout.seconds(in: directory.path) == 600)
    try writeFile(directory.file("default_request_timeout"), Array("60\n".utf8))
    #expect(KernelTimeout.seconds(in: directory.path) == 60)
    #expect(throws: (any Error).self) {
      try KernelTimeout.failIfThereIsOne("a", "compact", in: directory.path)
    }
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
