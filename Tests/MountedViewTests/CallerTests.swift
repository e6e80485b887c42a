import Glibc
import TestSupport
import Testing

/// What happens to a job when its caller gets a signal: programs at a terminal, with a job that would take 20 s where it is
/// cancelled, and 1.5 s where it is not.
@Suite(.requiresMount, .requiresPrograms("python3", "bash", "dash", "tee"), .serialized) struct CallerTests {
  @Test(arguments: [
    ("bash", Caller.Action.interrupt, 130), ("dash", .interrupt, 130), ("tee", .interrupt, 130),
    ("python3", .interrupt, Int(ECANCELED)),
    ("bash", .resizeThenInterrupt, 130), ("python3", .resizeThenInterrupt, Int(ECANCELED)),
    ("tee", .quit, 131), ("python3", .quit, Int(ECANCELED)),
    ("tee", .terminate, 143), ("python3", .terminate, Int(ECANCELED)),
    ("tee", .hangup, 129), ("python3", .hangup, Int(ECANCELED)),
    ("bash", .kill, 137), ("dash", .kill, 137), ("python3", .kill, 137), ("tee", .kill, 137),
  ]) func anEndIsWanted(_ program: String, _ action: Caller.Action, _ status: Int) throws {
    let mount = try JobMount()
    let file = mount.control(TimedOperation.word)
    let outcome = try Caller.run(program, writes: "milliseconds=20000", to: file, action)
    #expect(outcome.elapsed < 1, "\(outcome)")
    #expect(outcome.status == status, "\(outcome)")
    #expect(try eventually(within: 1) { try mount.fact("job_state") == "8 cancelled" })
    #expect(try mount.fact("id") == "1")
    try mount.unmount()
  }

  @Test(arguments: [
    ("bash", Caller.Action.resize), ("dash", .resize), ("python3", .resize), ("tee", .resize),
    ("bash", .stop), ("dash", .stop), ("python3", .stop), ("tee", .stop),
    ("bash", .suspend), ("tee", .suspend), ("bash", .child), ("python3", .child),
    ("python3-blocked", .terminate), ("python3-blocked", .hangup),
  ]) func nobodyWantsAnEnd(_ program: String, _ action: Caller.Action) throws {
    let mount = try JobMount()
    let file = mount.control(TimedOperation.word)
    let outcome = try Caller.run(program, writes: "milliseconds=1500", to: file, action)
    #expect(outcome.status == 0, "\(outcome)")
    #expect(try mount.fact("job_state") == "7 completed")
    // Not cancelled and begun again by a program that tries again.
    #expect(try mount.fact("id") == "1")
    try mount.unmount()
  }

  /// A job that takes its time to come to a safe point does not hold its caller.
  @Test func aCallerIsAnsweredWithinASecond() throws {
    let mount = try JobMount()
    let file = mount.control(TimedOperation.word)
    let outcome = try Caller.run("python3", writes: "milliseconds=3000 deaf", to: file, .interrupt)
    #expect(outcome.elapsed < 1, "\(outcome)")
    #expect(outcome.status == Int(ECANCELED), "\(outcome)")
    #expect(try mount.fact("job_state") == "4 running")
    #expect(try textOfFile(mount.control("error")).contains("ends at its next safe point"))
    #expect(try eventually(within: 5) { try mount.fact("job_state") == "7 completed" })
    try mount.unmount()
  }

  /// A second writer is told at once, whoever waits for the first.
  @Test func aSecondWriterIsToldAtOnce() throws {
    let mount = try JobMount()
    let file = mount.control(TimedOperation.word)
    let first = try RunningProgram(["bash", "-c", "echo milliseconds=2000 > \(file)"])
    #expect(try eventually(within: 2) { try mount.fact("job_state") == "4 running" })
    let began = now()
    let second = try run(["bash", "-c", "echo milliseconds=1 > \(file)"])
    #expect(now() - began < 0.5)
    #expect(second.errors.contains("Device or resource busy"), "\(second.summary)")
    #expect(first.wait(timeout: 10).succeeded)
    try mount.unmount()
  }
}
