import Foundation
import TestSupport
import Testing

@Suite("create")
struct CreateTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func facts(_ path: String, _ options: [String] = []) throws -> [String: Any] {
    let json = try Vhdfs.runChecked(["info", "--json"] + options + [path])
    return try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
  }

  private func qemuInfo(_ path: String, format: String) throws -> [String: Any] {
    let json = try runChecked(["qemu-img", "info", "--output=json", "-f", format, path])
    return try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
  }

  @Test(
    .requiresPrograms("qemu-img"),
    arguments: ["fixed", "dynamic"], ["1M", "2M", "32M", "256M"])
  func qemuAgreesOnAVHDX(_ type: String, _ blockSize: String) throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(path, ["--size", "300M", "--type", type, "--block-size", blockSize])
    #expect(try qemuInfo(path, format: "vhdx")["virtual-size"] as? Int == 300 << 20)
    #expect(try runChecked(["qemu-img", "check", "-f", "vhdx", path]).contains("No errors"))
    let facts = try facts(path)
    #expect(facts["type"] as? String == type)
    #expect(facts["virtual_size"] as? Int == 300 << 20)
    #expect(facts["block_size"] as? Int == (Int(blockSize.dropLast()) ?? 0) << 20)
    #expect(facts["log_dirty"] as? Bool == false)
    #expect(facts["creator"] as? String == "vhdfs")
    // What nobody wrote reads as zero, for another program too.
    try runChecked(["qemu-io", "-r", "-f", "vhdx", "-c", "read -P 0 0 300M", path])
  }

  @Test(.requiresPrograms("qemu-img"), arguments: ["fixed", "dynamic"], ["10M", "127G", "2040G"])
  func qemuAgreesOnAVHD(_ type: String, _ size: String) throws {
    let path = directory.file("a.vhd")
    let bytes = (Int(size.dropLast()) ?? 0) << (size.hasSuffix("M") ? 20 : 30)
    try Vhdfs.create(path, ["--size", size, "--type", type])
    #expect(try qemuInfo(path, format: "vpc")["virtual-size"] as? Int == bytes)
    let facts = try facts(path)
    #expect(facts["format"] as? String == "vhd")
    #expect(facts["type"] as? String == type)
    #expect(facts["virtual_size"] as? Int == bytes)
    #expect(facts["logical_sector_size"] as? Int == 512)
  }

  @Test(arguments: [512, 4096], [512, 4096])
  func sectorSizesAreAsAskedFor(_ logical: Int, _ physical: Int) throws {
    let path = directory.file("a.vhdx")
    try Vhdfs.create(
      path, ["--size", "64M", "--sector-size", "\(logical)", "--physical-sector-size", "\(physical)"])
    let facts = try facts(path)
    #expect(facts["logical_sector_size"] as? Int == logical)
    #expect(facts["physical_sector_size"] as? Int == physical)
  }

  @Test(arguments: ["vhd", "vhdx"])
  func aChildHasWhatItsParentHas(_ format: String) throws {
    let base = directory.file("base.\(format)")
    try Vhdfs.create(base, ["--size", "300M"] + (format == "vhdx" ? ["--sector-size", "4096"] : []))
    let before = try runChecked(["sha256sum", base])
    let child = directory.file("child.\(format)")
    let grandchild = directory.file("grandchild.a\(format)")
    try Vhdfs.create(child, ["--parent", base])
    try Vhdfs.create(grandchild, ["--parent", child])
    #expect(try runChecked(["sha256sum", base]) == before)
    let (root, leaf) = (try facts(base), try facts(grandchild))
    #expect(leaf["type"] as? String == "differencing")
    #expect(leaf["virtual_size"] as? Int == 300 << 20)
    #expect(leaf["logical_sector_size"] as? Int == root["logical_sector_size"] as? Int)
    #expect((leaf["parent_path"] as? String)?.hasSuffix("/child.\(format)") == true)
    if format == "vhdx" {
      #expect(leaf["virtual_disk_id"] as? String == root["virtual_disk_id"] as? String)
      #expect(leaf["parent_identifier"] as? String == (try facts(child))["data_write_guid"] as? String)
    } else {
      #expect(leaf["parent_identifier"] as? String == (try facts(child))["virtual_disk_id"] as? String)
    }
    let chain = try Vhdfs.runChecked(["info", "--chain", grandchild])
    #expect(chain.matches(of: /\ndepth [0-9]\n|^depth/).count == 3)
    #expect(!chain.contains("state error"))
  }

  @Test(.requiresPrograms("7z"), arguments: ["vhd", "vhdx"])
  func anotherReaderFollowsTheRecordedPath(_ format: String) throws {
    let base = directory.file("base.\(format)")
    let child = directory.file("child.\(format)")
    try Vhdfs.create(base, ["--size", "64M"])
    try Vhdfs.create(child, ["--parent", base])
    let result = try run(["7z", "t", "-t\(format)", child])
    #expect(result.succeeded, "\(result.summary)")
  }

  @Test(arguments: ["vhd", "vhdx"])
  func aParentElsewhereIsFoundWhereItIsAllowed(_ format: String) throws {
    let base = directory.file("base.\(format)")
    let child = "\(try directory.directory("checkpoints"))/child.\(format)"
    try Vhdfs.create(base, ["--size", "64M"])
    let made = try Vhdfs.run(["create", "--parent", base, child])
    #expect(made.status == 0)
    #expect(made.errors.contains("--parents \(directory.path)\n"), "\(made.errors)")
    let info = try facts(child, ["--parents", directory.path])
    #expect(info["parent_path"] as? String == base)
    // Nothing outside the image's own directory is looked at unless it is named.
    let refused = try Vhdfs.run(["map", child])
    #expect(refused.status == 21, "\(refused.summary)")
  }

  @Test func aVHDXChildMayHaveAnotherSizeAndAVHDChildMayNot() throws {
    for format in ["vhd", "vhdx"] {
      try Vhdfs.create(directory.file("base.\(format)"), ["--size", "64M"])
      let result = try Vhdfs.run(
        [
          "create", "--parent", directory.file("base.\(format)"), "--size", "128M",
          directory.file("c.\(format)"),
        ])
      #expect(result.status == (format == "vhd" ? 15 : 0), "\(result.summary)")
      #expect(fileExists(directory.file("c.\(format)")) == (format == "vhdx"))
    }
  }

  @Test func aChildOfTheOtherFormatIsRefused() throws {
    try Vhdfs.create(directory.file("base.vhdx"), ["--size", "64M"])
    let result = try Vhdfs.run(["create", "--parent", directory.file("base.vhdx"), directory.file("c.vhd")])
    #expect(result.status == 15, "\(result.summary)")
    #expect(try names(in: directory.path) == ["base.vhdx"])
  }

  @Test func aBrokenChainGetsNoMoreChildren() throws {
    try Vhdfs.create(directory.file("base.vhdx"), ["--size", "64M"])
    try Vhdfs.create(directory.file("child.vhdx"), ["--parent", directory.file("base.vhdx")])
    try runChecked(["rm", directory.file("base.vhdx")])
    let result = try Vhdfs.run(["create", "--parent", directory.file("child.vhdx"), directory.file("c.vhdx")])
    #expect(result.status == 21, "\(result.summary)")
    #expect(result.errors.contains("base.vhdx"))
    #expect(try names(in: directory.path) == ["child.vhdx"])
  }

  @Test(.requiresPrograms("qemu-io"))
  func aParentThatIsBeingWrittenIs16() throws {
    let base = directory.file("base.vhdx")
    try Vhdfs.create(base, ["--size", "64M"])
    let log = directory.file("log")
    let writer = try RunningProgram(
      ["sh", "-c", "(echo 'write 0 4k'; sleep 30) | exec qemu-io -f vhdx '\(base)' >'\(log)'"])
    defer { writer.signal(SIGTERM) }
    #expect(eventually(within: 10) { (try? textOfFile(log))?.contains("wrote") ?? false })
    let result = try Vhdfs.run(["create", "--parent", base, directory.file("c.vhdx")])
    #expect(result.status == 16, "\(result.summary)")
    #expect(result.errors.contains("qemu-io (process "))
    #expect(!fileExists(directory.file("c.vhdx")))
  }

  @Test func jsonTellsWhatWasMade() throws {
    let path = directory.file("a.vhdx")
    let json = try Vhdfs.runChecked(["create", "--size", "64M", "--json", path])
    let made = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
    #expect(made["virtual_size"] as? Int == 64 << 20)
    #expect(made["path"] as? String == path)
  }

  @Test func roomForAFixedImageIsReservedWhenAsked() throws {
    for format in ["vhd", "vhdx"] {
      let path = directory.file("a.\(format)")
      try Vhdfs.create(path, ["--size", "64M", "--type", "fixed", "--reserve"])
      #expect(try sizes(of: path).allocated >= 64 << 20)
      let sparse = directory.file("b.\(format)")
      try Vhdfs.create(sparse, ["--size", "64M", "--type", "fixed"])
      #expect(try sizes(of: sparse).allocated < 16 << 20)
    }
  }

  @Test func azureGetsWholeMebibytes() throws {
    let path = directory.file("a.vhd")
    try Vhdfs.create(path, ["--size", "10000384", "--type", "fixed", "--azure"])
    let made = try facts(path)
    #expect(made["virtual_size"] as? Int == 10 << 20)
    #expect(made["file_size"] as? Int == 10 << 20 + 512)
  }

  @Test(.requiresMount)
  func nothingIsLeftOnAFullHost() throws {
    let small = try directory.directory("small")
    try runChecked(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", small])
    defer { _ = try? run(["umount", small]) }
    let result = try Vhdfs.run(["create", "--size", "64M", "--type", "fixed", "--reserve", "\(small)/a.vhdx"])
    #expect(result.status == 10, "\(result.summary)")
    #expect(result.errors.contains("No space left on device"))
    #expect(try names(in: small) == [])
  }

  @Test(.requiresMount, .requiresPrograms("mkfs.vfat"))
  func aHostWithoutUnnamedFilesGetsTheSame() throws {
    // FAT has neither unnamed files nor links.
    let disk = directory.file("fat.img")
    try runChecked(["truncate", "-s", "128M", disk])
    try runChecked(["mkfs.vfat", disk])
    let folder = try directory.directory("fat")
    guard try run(["mount", "-o", "loop", disk, folder]).succeeded else { return }
    defer { _ = try? run(["umount", folder]) }
    try Vhdfs.create("\(folder)/a.vhdx", ["--size", "1G"])
    let second = try Vhdfs.run(["create", "--size", "1G", "\(folder)/a.vhdx"])
    #expect(second.status == 15)
    let full = try Vhdfs.run(["create", "--size", "1G", "--type", "fixed", "--reserve", "\(folder)/b.vhdx"])
    #expect(full.status == 10)
    #expect(try names(in: folder) == ["a.vhdx"])
  }
}
