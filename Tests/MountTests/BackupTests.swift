import Glibc
import TestSupport
import Testing

extension MountTests {
  /// examples/incremental-backup.sh: an ext4 in use, frozen for each copy, comes back byte for byte, whatever happened in
  /// between.
  @Suite(
    .requiresLoopDevice,
    .requiresPrograms("bash", "flock", "fsfreeze", "fstrim", "mkfs.ext4", "qemu-io", "sha256sum"))
  struct BackupTests {
    @Test func ext4InUseIsRestoredByteForByte() throws {
      let disk = try DiskInUse(size: "256M")
      try disk.write("first", bytes: 24 << 20)
      try disk.write("second", bytes: 8 << 20)
      let writer = try disk.writeAllTheTime()
      try disk.backUp(expecting: "full")
      // Written, deleted and trimmed, cut and grown again.
      try disk.write("third", bytes: 3 << 20)
      try runChecked(["rm", disk.path("first")])
      try runChecked(["fstrim", disk.path("")])
      try disk.backUp(expecting: "increment")
      try runChecked(["truncate", "-s", "1M", disk.path("second")])
      try runChecked(["sync", "-f", disk.path("")])
      try disk.write("fourth", bytes: 100_000)
      try runChecked(["truncate", "-s", "4M", disk.path("second")])
      try disk.backUp(expecting: "increment")
      disk.end(writer)

      for copy in 1...3 { try disk.expectRestored(copy) }
      let (full, last) = try (disk.dataSize(1), disk.dataSize(3))
      #expect(last < full / 4, "\(last) of \(full) bytes: an increment is not the whole disk")
      let verified = try disk.script(["verify", disk.store])
      #expect(verified.succeeded && verified.output == "3 copies are whole\n", "\(verified.summary)")
      try disk.close()
    }

    @Test func killedAfterEachStep() throws {
      let disk = try DiskInUse(size: "64M")
      var stops = 0
      for step in 1...20 {
        try disk.write("before-\(step)", bytes: 50_000)
        let stopped = try disk.script(disk.backupWords, ["BACKUP_STOP_AFTER": "\(step)"])
        // After the last step there is none to be stopped at.
        if stopped.succeeded { break }
        stops += 1
        try #require(stopped.status == 128 + SIGKILL, "\(stopped.summary)")
        try disk.expectRecovery("step \(step)")
      }
      #expect(stops == 11)
      try disk.close()
    }

    @Test func killedAtRandomMoments() throws {
      let disk = try DiskInUse(size: "64M")
      var generator = SeededGenerator(seed: 41)
      let whole = try disk.script(disk.backupWords).seconds
      for round in 0..<12 {
        try disk.write("round-\(round)", bytes: 300_000)
        let script = try RunningProgram(disk.words(disk.backupWords), environment: disk.environment)
        usleep(UInt32.random(in: 0..<UInt32(whole * 1.1e6), using: &generator))
        // The script alone, or all that it started, the process that would thaw among them.
        if script.isRunning { kill(round % 2 == 0 ? script.pid : -script.pid, SIGKILL) }
        script.wait(timeout: 60)
        try disk.expectRecovery("round \(round)", isThawed: round % 2 == 0)
      }
      try disk.close()
    }

    @Test func thawedInTimeTheCopyIsGivenUp() throws {
      let disk = try DiskInUse(size: "64M")
      try disk.backUp(expecting: "full")
      try disk.write("file", bytes: 100_000)
      let writer = try disk.writeAllTheTime()
      // Frozen for a second; the copy waits for two, in the program that reads the ranges.
      try disk.replace("sha256sum", by: "sleep 2; real \"$@\"")
      let result = try disk.script(
        ["backup", "--freeze-limit", "1"] + disk.backupWords.dropFirst(), disk.environment)
      #expect(
        result.status == 1 && result.errors.contains("written while it was copied"), "\(result.summary)")
      disk.end(writer)
      try disk.restorePrograms()
      try disk.expectRecovery("thawed in time")
      try disk.close()
    }
  }
}
