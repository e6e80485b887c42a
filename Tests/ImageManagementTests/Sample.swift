import Storage
import VirtualDisk

/// Facts for reports, with a hostile name in each place where a file's bytes could come out.
enum Sample {
  static let hostile = "new\nline \"quoted\" back\\slash \u{1B}[31mred"
  /// What `hostile` must look like in text.
  static let hostileText = #"new\012line "quoted" back\134slash \033[31mred"#
  /// And as the inside of a JSON string.
  static let hostileJSON = #"new\\012line \"quoted\" back\\134slash \\033[31mred"#

  static let diskID = GUID("11111111-2222-3333-4444-555555555555") ?? .zero
  static let contentID = GUID("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee") ?? .zero

  static var base: ImageFacts {
    ImageFacts(
      format: .vhdx, type: .dynamic, virtualSize: 42_949_672_960,
      hostStatus: HostFileStatus(size: 4_194_304, allocated: 69632, modified: 0), blockSize: 33_554_432,
      logicalSectorSize: 512, physicalSectorSize: 4096, virtualDiskID: diskID, dataWriteGUID: contentID,
      creator: "vhdfs", logIsDirty: false, isAligned4K: true)
  }

  static var child: ImageFacts {
    var facts = base
    facts.type = .differencing
    facts.parentIdentifier = contentID
    facts.recordedParentPaths = [".\\base.vhdx", "C:\\disks\\base.vhdx"]
    return facts
  }

  static func entry(
    _ facts: Result<ImageFacts, ImageError>, path: String = "/srv/disk.vhdx", readOnlyReason: String? = nil,
    isOnline: Bool = false, operation: String? = nil
  ) -> ImageEntry {
    ImageEntry(
      name: "disk.vhdx", path: path, identity: FileIdentity(device: 1, inode: 2), facts: facts,
      readOnlyReason: readOnlyReason, isOnline: isOnline, operation: operation)
  }
}

func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
