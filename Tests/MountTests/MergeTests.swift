import Glibc
import TestSupport
import Testing

extension MountTests {
  /// Chains that are written through the mount, merged, and read by programs that are not ours.
  @Suite(.requiresPrograms("qemu-img", "7z", "vhdimount"))
  struct MergeTests {
    @Test("A chain of 6 into its root: the root is the child, by others' word", arguments: roots)
    func intoTheRoot(root: ImageKind) throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, root, count: 6)
      var child = root
      child.kind = .differencing
      // The child, before.
      try Oracles.compare(workspace.image("5.\(root.format)"), child, with: models[5])
      let output = try Vhdfs.runChecked(
        ["merge", workspace.image("5.\(root.format)"), "--into", workspace.image("0.\(root.format)")])
      #expect(output.hasPrefix("merged_into \(workspace.image("0.\(root.format)"))\n"), "\(output)")
      try Oracles.compare(workspace.image("0.\(root.format)"), root, with: models[5])
      // The child still is what it was, through the chain.
      try Oracles.compare(workspace.image("5.\(root.format)"), child, with: models[5])
    }

    @Test("What is left of a chain of VHDs whose deletion was cut off cannot be merged once more")
    func deletionOfVHDsCutOff() throws {
      let workspace = try Workspace()
      let chain = (0...3).map { workspace.image("\($0).vhd") }
      try Vhdfs.create(chain[0], ["--size", "16M"])
      for level in 1...3 { try Vhdfs.create(chain[level], ["--parent", chain[level - 1]]) }
      // A file on which something is mounted cannot be removed.
      try runChecked(["mount", "--bind", chain[2], chain[2]])
      defer { _ = try? run(["umount", chain[2]]) }
      let result = try Vhdfs.run(["merge", chain[3], "--into", chain[0], "--delete"])
      #expect(result.status != 0 && result.errors.contains("2.vhd: cannot be removed"), "\(result.summary)")
      #expect(try names(in: workspace.images).sorted() == ["0.vhd", "2.vhd", "3.vhd"])
      let again = try Vhdfs.run(["merge", chain[2], "--into", chain[0]])
      #expect(again.status == 21 && again.errors.contains("1.vhd"), "\(again.summary)")
    }

    @Test("What an operation deleted has gone from the mount when its order is answered")
    func deletedAtOnce() throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, MergeTests.roots[0], count: 3, megabytes: 4)
      let mount = try workspace.mount()
      #expect(try names(in: mount.path).sorted() == ["0.vhdx", "1.vhdx", "2.vhdx"])
      #expect(TrackingTests.order("0.vhdx delete", mount.file("2.vhdx", "control/merge")) == 0)
      #expect(try names(in: mount.path).filter { !$0.hasPrefix(".") } == ["0.vhdx"])
      try Oracles.compare(workspace.image("0.vhdx"), MergeTests.roots[0], with: models[2])
    }

    @Test("A chain of 6 into its middle: below nothing changes", arguments: roots)
    func intoTheMiddle(root: ImageKind) throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, root, count: 6)
      var child = root
      child.kind = .differencing
      try Vhdfs.runChecked(
        ["merge", workspace.image("4.\(root.format)"), "--into", workspace.image("2.\(root.format)")])
      try Oracles.compare(workspace.image("2.\(root.format)"), child, with: models[4])
      try Oracles.compare(workspace.image("0.\(root.format)"), root, with: models[0])
      let mount = try workspace.mount("-r")
      for (level, model) in [(0, 0), (1, 1), (2, 4), (4, 4), (5, 5)] {
        let difference = try models[model].firstDifference(inFile: mount.file("\(level).\(root.format)"))
        #expect(difference == nil, "\(level)")
      }
      if root.isVHDX {
        #expect(try mount.fact("valid_only_below", of: "3.vhdx") == "4.vhdx")
        for level in [0, 1, 2, 4, 5] {
          #expect(try mount.fact("valid_only_below", of: "\(level).vhdx") == nil)
        }
      }
      try mount.unmount()
    }

    @Test("A sibling is named, and nothing is changed; unless forced", arguments: [roots[0], roots[4]])
    func siblings(root: ImageKind) throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, root, count: 4)
      let format = root.format
      var child = root
      child.kind = .differencing
      for parent in [0, 2] {
        try Vhdfs.create(
          workspace.image("other\(parent).\(format)"),
          child.options(size: "", parent: workspace.image("\(parent).\(format)")))
      }
      let sums = try MergeTests.sums(workspace)
      let words = ["merge", workspace.image("3.\(format)"), "--into", workspace.image("0.\(format)")]
      let refused = try Vhdfs.run(words)
      #expect(refused.status == 17, "\(refused.summary)")
      #expect(refused.errors.contains("other0.\(format)") && refused.errors.contains("other2.\(format)"))
      #expect(!refused.errors.contains("/1.\(format)"), "\(refused.errors)")
      #expect(try MergeTests.sums(workspace) == sums)
      let forced = try Vhdfs.runChecked(words + ["--force"])
      #expect(forced.contains("orphaned_files 2\n"), "\(forced)")
      try Oracles.compare(workspace.image("0.\(format)"), root, with: models[3])
      if root.isVHDX {
        let orphan = try Vhdfs.run(["info", "--chain", workspace.image("other0.vhdx")])
        #expect(orphan.output.contains("state error"), "\(orphan.summary)")
      }
    }

    /// SHA-256 of every image, by name.
    static func sums(_ workspace: Workspace) throws -> [String] {
      try names(in: workspace.images).sorted().map { try "\($0) \(sha256(ofFile: workspace.image($0)))" }
    }

    @Test(
      "delete removes what was merged; relink keeps the image's own children",
      arguments: [roots[0], roots[4], roots[6]], [false, true])
    func deleteAndRelink(root: ImageKind, isMounted: Bool) throws {
      let workspace = try Workspace()
      let format = root.format
      let models = try MergeTests.makeChain(workspace, root, count: 5, options: ["--track"])
      func answer() throws -> String {
        try Vhdfs.runChecked(["changes", "--limit", "one", workspace.image("4.\(format)")])
      }
      let before = try answer()
      // 4 is a child of 3, which is to go.
      let words = [
        "merge", workspace.image("3.\(format)"), "--into", workspace.image("1.\(format)"), "--delete",
      ]
      let sums = try MergeTests.sums(workspace)
      let refused = try Vhdfs.run(words)
      #expect(refused.status == 17 && refused.errors.contains("4.\(format)"), "\(refused.summary)")
      #expect(try MergeTests.sums(workspace) == sums)
      if isMounted {
        let mount = try workspace.mount()
        #expect(
          TrackingTests.order("1.\(format) delete relink", mount.file("3.\(format)", "control/merge")) == 0)
        #expect(try models[4].firstDifference(inFile: mount.file("4.\(format)")) == nil)
        try mount.unmount()
      } else {
        let output = try Vhdfs.runChecked(words + ["--relink"])
        #expect(output.contains("relinked \(workspace.image("4.\(format)"))\n"), "\(output)")
      }
      let left = try names(in: workspace.images).sorted()
      #expect(left == ["0", "1", "4"].flatMap { ["\($0).\(format)", "\($0).\(format).tracking"] })
      // What the child's own record says stays as it was.
      #expect(try answer() == before)
      let mount = try workspace.mount("-r")
      for level in [0, 4] {
        let difference = try models[level].firstDifference(inFile: mount.file("\(level).\(format)"))
        #expect(difference == nil, "\(level)")
      }
      #expect(try models[3].firstDifference(inFile: mount.file("1.\(format)")) == nil)
      #expect(try mount.fact("parent_path", of: "4.\(format)") == workspace.image("1.\(format)"))
      try mount.unmount()
      try Oracles.compare(
        workspace.image("4.\(format)"), ImageKind(format: format, kind: .differencing, blockSize: "2M"),
        with: models[4])
    }

    @Test("A relinked VHD reads the same by 7-Zip, and libvhdi and QEMU find nothing amiss")
    func relinkedVHD() throws {
      let workspace = try Workspace()
      let files = ["root.vhd", "a.vhd", "b.vhd", "c.vhd"].map(workspace.image)
      var model = DiskModel(size: 16 << 20)
      var merged = model
      try Vhdfs.create(files[0], ["--size", "16M", "--type", "dynamic"])
      for (level, path) in files.enumerated() {
        if level > 0 { try Vhdfs.create(path, ["--parent", files[level - 1]]) }
        let mount = try workspace.mount()
        let name = String(path.split(separator: "/").last ?? "")
        let file = try OpenFile(mount.file(name), O_RDWR)
        for block in level == 0 ? [0, 1, 2, 3, 4] : [level, 4 + level] {
          let bytes = pattern(seed: UInt64(level * 10 + block), count: 2 << 20)
          try file.write(bytes, at: UInt64(block << 21))
          model.write(bytes, at: block << 21)
        }
        _ = consume file
        try mount.unmount()
        if level == 2 { merged = model }
      }
      let mount = try workspace.mount()
      #expect(TrackingTests.order("root.vhd delete relink", mount.file("b.vhd", "control/merge")) == 0)
      #expect(try model.firstDifference(inFile: mount.file("c.vhd")) == nil)
      try mount.unmount()
      #expect(try names(in: workspace.images).sorted() == ["c.vhd", "root.vhd"])
      try Oracles.compare(files[0], MergeTests.roots[4], with: merged)
      try Oracles.compare(
        files[3], ImageKind(format: "vhd", kind: .differencing, blockSize: "2M"), with: model)
      // libvhdi reads blocks of children wrong, but it names the parent.
      let info = try runChecked(["vhdiinfo", files[3]])
      #expect(info.contains("root.vhd") && !info.contains("b.vhd"), "\(info)")
      let qemu = try runChecked(["qemu-img", "info", "-f", "vpc", files[3]])
      #expect(qemu.contains("virtual size: 16 MiB"), "\(qemu)")
      #expect(try run(["qemu-img", "map", "-f", "vpc", "--output=json", files[3]]).succeeded)
    }

    /// A VHD merge, with points, that was killed in the middle.
    private static func killedMerge(_ workspace: Workspace) throws -> [DiskModel] {
      let models = try MergeTests.makeChain(
        workspace, MergeTests.roots[4], count: 2, megabytes: 64, options: ["--track"])
      let mount = try workspace.mount()
      let file = try OpenFile(mount.file("1.vhd"), O_RDWR)
      var model = models[1]
      let bytes = pattern(seed: 77, count: 60 << 20)
      try file.write(bytes, at: 1 << 20)
      model.write(bytes, at: 1 << 20)
      _ = consume file
      try mount.unmount()
      for delay in 0..<200 {
        let merge = try RunningProgram([Vhdfs.program, "merge", workspace.image("1.vhd")])
        usleep(UInt32(10_000 + 3000 * delay))
        merge.signal(SIGKILL)
        merge.wait(timeout: 20)
        if try vhdfs(["point", "list", "0.vhd"], workspace).status != 0 { return [models[0], model] }
      }
      throw TestFailure("no kill hit a merge in the middle")
    }

    private static func vhdfs(_ words: [String], _ workspace: Workspace) throws -> ProgramResult {
      try Vhdfs.run(words.dropLast() + [workspace.image(words.last ?? "")])
    }

    @Test("A VHD merge that was killed is run again: with sole-writer the points are kept, by force they end")
    func killedWithPoints() throws {
      for way in ["sole-writer", "force", "mount"] {
        let workspace = try Workspace()
        let models = try MergeTests.killedMerge(workspace)
        let sums = try MergeTests.sums(workspace)
        let refused = try MergeTests.vhdfs(["merge", "1.vhd"], workspace)
        #expect(refused.status == 17, "\(refused.summary)")
        #expect(refused.errors.contains("0.vhd: was not closed") && refused.errors.contains("sole-writer"))
        #expect(try MergeTests.sums(workspace) == sums)
        switch way {
        case "mount":
          let mount = try workspace.mount("-o", "sole-writer")
          #expect(TrackingTests.order("", mount.file("1.vhd", "control/merge")) == 0)
          try mount.unmount()
        case "sole-writer":
          let done = try MergeTests.vhdfs(["merge", "--sole-writer", "1.vhd"], workspace)
          #expect(done.succeeded && !done.output.contains("ended"), "\(done.summary)")
        default:
          let done = try MergeTests.vhdfs(["merge", "--force", "1.vhd"], workspace)
          #expect(
            done.succeeded && done.output.contains("ended \(workspace.image("0.vhd"))\n"), "\(done.summary)")
          #expect(done.errors.contains("sole-writer would have kept them"), "\(done.summary)")
        }
        try Oracles.compare(workspace.image("0.vhd"), MergeTests.roots[4], with: models[1])
        let points = try MergeTests.vhdfs(["point", "list", "0.vhd"], workspace)
        #expect(points.succeeded, "\(points.summary)")
        // Both had a point of that name: the destination's, the older one, got another.
        #expect(points.output.contains("one-2") == (way != "force"), "\(points.summary)")
        if way == "force" { continue }
        let changes = try MergeTests.vhdfs(["changes", "--limit", "one-2", "0.vhd"], workspace)
        #expect(changes.succeeded, "\(changes.summary)")
        let answer = try TrackingTests.ranges(changes.output, of: UInt64(models[0].size))
        #expect(answer.contains { $0.contains(30 << 20) }, "\(answer)")
      }
    }

    @Test("Points answer on the parent as they did on the child", arguments: [roots[0], roots[4]])
    func points(root: ImageKind) throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, root, count: 3, options: ["--track"])
      let format = root.format
      func answer(_ level: Int, _ limit: String) throws -> [Range<UInt64>] {
        let text = try Vhdfs.runChecked(["changes", "--limit", limit, workspace.image("\(level).\(format)")])
        return try TrackingTests.ranges(text, of: UInt64(models[0].size))
      }
      func ids(_ level: Int) throws -> [String] {
        try Vhdfs.runChecked(["point", "list", workspace.image("\(level).\(format)")]).split(separator: "\n")
          .compactMap { $0.split(separator: " ").first { $0.hasPrefix("vhdfs:") }.map(String.init) }
      }
      let own = try #require(try ids(0).first)
      let middle = try #require(try ids(1).first)
      let moved = try #require(try ids(2).first)
      let before = try answer(2, moved)
      #expect(!before.isEmpty)
      // Asked before: past the one between another is merged.
      let held = try answer(1, "parent") + answer(2, "parent")
      try Vhdfs.runChecked([
        "merge", workspace.image("2.\(format)"), "--into", workspace.image("0.\(format)"),
      ])
      #expect(try ids(0) == [own, middle, moved])
      #expect(try answer(0, moved) == before)
      // What the child's own record says stays as well.
      #expect(try answer(2, moved) == before)
      let since = try answer(0, own)
      #expect(try answer(0, middle).allSatisfy { range in since.contains { $0.contains(range.lowerBound) } })
      #expect(
        held.allSatisfy { range in
          since.contains { $0.lowerBound <= range.lowerBound && $0.upperBound >= range.upperBound }
        })
    }

    @Test(
      "A full host is told before anything is changed; and in the middle the chain stays",
      arguments: [roots[0], roots[4]])
    func fullHost(root: ImageKind) throws {
      let workspace = try Workspace()
      let host = try workspace.root.directory("small")
      try runChecked(["mount", "-t", "tmpfs", "-o", "size=64m", "none", host])
      defer { _ = try? run(["umount", "-l", host]) }
      let format = root.format
      let (parent, child) = ("\(host)/a.\(format)", "\(host)/b.\(format)")
      try Vhdfs.create(parent, root.options(size: "100M"))
      try Vhdfs.create(child, ["--parent", parent])
      let mount = try VhdfsMount([host], at: workspace.mountPoint, keeping: workspace)
      let bytes = pattern(seed: 3, count: 40 << 20)
      let file = try OpenFile(mount.file("b.\(format)"), O_RDWR)
      try file.write(bytes, at: 1 << 20)
      _ = consume file
      try mount.unmount()
      let sums = try [parent, child].map { try sha256(ofFile: $0) }
      let refused = try Vhdfs.run(["merge", child])
      #expect(refused.status == 10 && refused.errors.contains("make room"), "\(refused.summary)")
      #expect(try [parent, child].map { try sha256(ofFile: $0) } == sums)
      let failed = try Vhdfs.run(["merge", child, "--force"])
      #expect(failed.status == 10 && failed.errors.contains("make room"), "\(failed.summary)")
      let again = try VhdfsMount([host], at: workspace.mountPoint, ["-r"], keeping: workspace)
      #expect(try OpenFile(again.file("b.\(format)")).read(at: 1 << 20, count: bytes.count) == bytes)
      try again.unmount()
      try runChecked(["mount", "-o", "remount,size=200m", host])
      try Vhdfs.runChecked(["merge", child])
      let last = try VhdfsMount([host], at: workspace.mountPoint, ["-r"], keeping: workspace)
      #expect(try OpenFile(last.file("a.\(format)")).read(at: 1 << 20, count: bytes.count) == bytes)
      try last.unmount()
    }

    @Test("Killed again and again, the chain reads the same", arguments: [roots[0], roots[4]])
    func killed(root: ImageKind) throws {
      let workspace = try Workspace()
      let models = try MergeTests.makeChain(workspace, root, count: 3, megabytes: 64)
      let format = root.format
      for round in 0..<8 {
        let merge = try RunningProgram(
          [Vhdfs.program, "merge", workspace.image("2.\(format)"), "--into", workspace.image("0.\(format)")])
        usleep(UInt32(20_000 + 35_000 * round))
        merge.signal(SIGKILL)
        merge.wait(timeout: 20)
        let mount = try workspace.mount("-r")
        #expect(try models[2].firstDifference(inFile: mount.file("2.\(format)")) == nil, "\(round)")
        try mount.unmount()
      }
      try Vhdfs.runChecked([
        "merge", workspace.image("2.\(format)"), "--into", workspace.image("0.\(format)"),
      ])
      try Oracles.compare(workspace.image("0.\(format)"), root, with: models[2])
    }

    @Test("A child that is larger or smaller than its parent", arguments: ["30M", "20M", "400G"])
    func sizes(size: String) throws {
      let workspace = try Workspace()
      var model = try MergeTests.makeChain(workspace, MergeTests.roots[0], count: 1)[0]
      try Vhdfs.create(
        workspace.image("1.vhdx"), ["--parent", workspace.image("0.vhdx"), "--size", size])
      let mount = try workspace.mount()
      let bytes = Int(try mount.fact("virtual_size", of: "1.vhdx") ?? "") ?? 0
      if bytes < 1 << 30 {
        model = DiskModel(
          bytes: Array(model.bytes.prefix(bytes)) + [UInt8](repeating: 0, count: max(0, bytes - model.size)))
      }
      var other = model
      try MergeTests.write(mount.file("1.vhdx"), &other, seed: 9, changes: 10)
      let file = try OpenFile(mount.file("1.vhdx"), O_RDWR)
      let last = pattern(seed: 8, count: 5000)
      try file.write(last, at: UInt64(bytes - 5000))
      if bytes < 1 << 30 { other.write(last, at: bytes - 5000) }
      _ = consume file
      try mount.unmount()
      try Vhdfs.runChecked(["merge", workspace.image("1.vhdx")])
      if bytes < 1 << 30 {
        try Oracles.compare(workspace.image("0.vhdx"), MergeTests.roots[0], with: other)
      } else {
        let again = try workspace.mount("-r")
        #expect(try OpenFile(again.file("0.vhdx")).read(at: UInt64(bytes - 5000), count: 6000) == last)
        try again.unmount()
        let check = try run(["qemu-img", "check", "-f", "vhdx", workspace.image("0.vhdx")])
        #expect(check.succeeded, "\(check.summary)")
      }
    }
  }
}
