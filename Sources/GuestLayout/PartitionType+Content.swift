import Storage

/// What a partition's type says of its content. A type is written on purpose, and outlives no formatting by another system's
/// programs; a mark may be a leftover. So a file system is believed only where the type fits.
extension PartitionType {
  /// Whether the content may be what its marks say. NTFS in a partition of a Linux type and ext in one of Windows are common.
  func fits(_ system: GuestFileSystem) -> Bool {
    switch (self, system) {
    case (.mbr(let type), .swap): [0x82, 0x83].contains(type)
    case (.mbr(let type), .ntfs), (.mbr(let type), .ext2), (.mbr(let type), .ext3), (.mbr(let type), .ext4):
      [0x07, 0x17, 0x27, 0x83, 0x93].contains(type)
    case (.gpt(let type), .swap): type == PartitionType.linuxSwap || type == PartitionType.linuxData
    case (.gpt(let type), .ntfs), (.gpt(let type), .ext2), (.gpt(let type), .ext3), (.gpt(let type), .ext4):
      PartitionType.fileSystems.contains(type)
    default: false
    }
  }

  /// A part of something larger, whatever its marks are; nil for any other type.
  var partOfSomething: GuestFileSystem? {
    switch self {
    case .mbr(0x42): .dynamicDisk
    case .mbr(0x8E): .lvm
    case .mbr(0xFD): .raid
    case .mbr: nil
    case .gpt(let type): PartitionType.partsOfSomething[type]
    }
  }

  /// Only boot loaders' code (BIOS boot), or nothing (Microsoft reserved): no system runs on it.
  var isForNoSystem: Bool {
    if case .gpt(let type) = self { PartitionType.forNoSystem.contains(type) } else { false }
  }

  private static let forNoSystem: Set<GUID> = types([
    "21686148-6449-6e6f-744e-656564454649", "e3c9e316-0b5c-4db8-817d-f92df00215ae",
  ])
  private static let linuxSwap = GUID("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f")
  private static let linuxData = GUID("0fc63daf-8483-4772-8e79-3d69d8477de4")

  private static let partsOfSomething: [GUID: GuestFileSystem] = {
    var types: [GUID: GuestFileSystem] = [:]
    for (text, system) in [
      ("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", GuestFileSystem.dynamicDisk),
      ("af9b60a0-1431-4f62-bc68-3311714a69ad", .dynamicDisk),
      ("e75caf8f-f680-4cee-afa3-b001e56efc2d", .storageSpaces),
      ("e6d6d379-f507-44c2-a23c-238f2a3df928", .lvm), ("a19d880f-05fc-4d3b-a006-743f0f84911e", .raid),
    ] {
      if let type = GUID(text) { types[type] = system }
    }
    return types
  }()

  /// Of Windows: basic data, recovery. Of Linux: data, and those of the Discoverable Partitions Specification.
  private static let fileSystems: Set<GUID> = types([
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",  // basic data
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac",  // Windows recovery
    "0fc63daf-8483-4772-8e79-3d69d8477de4",  // Linux file system
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915",  // home
    "773f91ef-66d4-49b5-bd83-d683bf40ad16",  // a user's home
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8",  // srv
    "4d21b016-b534-45c2-a9fb-5c16e091fd2d",  // var
    "7ec6f557-3bc5-4aca-b293-16ef5df639d1",  // var/tmp
    "bc13c2ff-59e6-4262-a352-b275fd6f7172",  // extended boot
    // root
    "44479540-f297-41b2-9af7-d131d5f0458a",  // x86
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",  // x86-64
    "6523f8ae-3eb1-4e2a-a05a-18b695ae656f",  // Alpha
    "d27f46ed-2919-4cb8-bd25-9531f3c16534",  // ARC
    "69dad710-2ce4-4e3c-b16c-21a1d49abed3",  // ARM
    "b921b045-1df0-41c3-af44-4c6f280d3fae",  // ARM-64
    "993d8d3d-f80e-4225-855a-9daf8ed7ea97",  // IA-64
    "77055800-792c-4f94-b39a-98c91b762bb6",  // LoongArch-64
    "37c58c8a-d913-4156-a25f-48b1b64e07f0",  // MIPS-32 LE
    "700bda43-7a34-4507-b179-eeb93d7a7ca3",  // MIPS-64 LE
    "1de3f1ef-fa98-47b5-8dcd-4a860a654d78",  // PPC
    "912ade1d-a839-4913-8964-a10eee08fbd2",  // PPC64
    "c31c45e6-3f39-412e-80fb-4809c4980599",  // PPC64LE
    "60d5a7fe-8e7d-435c-b714-3dd8162144e1",  // RISC-V-32
    "72ec70a6-cf74-40e6-bd49-4bda08e8f224",  // RISC-V-64
    "08a7acea-624c-4a20-91e8-6e0fa67d23f9",  // S390
    "5eead9a9-fe09-4a1e-a1d7-520d00531306",  // S390X
    "c50cdd70-3862-4cc3-90e1-809a8c93ee2c",  // TILE-Gx
    // usr
    "75250d76-8cc6-458e-bd66-bd47cc81a812",  // x86
    "8484680c-9521-48c6-9c11-b0720656f69e",  // x86-64
    "e18cf08c-33ec-4c0d-8246-c6c6fb3da024",  // Alpha
    "7978a683-6316-4922-bbee-38bff5a2fecc",  // ARC
    "7d0359a3-02b3-4f0a-865c-654403e70625",  // ARM
    "b0e01050-ee5f-4390-949a-9101b17104e9",  // ARM-64
    "4301d2a6-4e3b-4b2a-bb94-9e0b2c4225ea",  // IA-64
    "e611c702-575c-4cbe-9a46-434fa0bf7e3f",  // LoongArch-64
    "0f4868e9-9952-4706-979f-3ed3a473e947",  // MIPS-32 LE
    "c97c1f32-ba06-40b4-9f22-236061b08aa8",  // MIPS-64 LE
    "7d14fec5-cc71-415d-9d6c-06bf0b3c3eaf",  // PPC
    "2c9739e2-f068-46b3-9fd0-01c5a9afbcca",  // PPC64
    "15bb03af-77e7-4d4a-b12b-c0d084f7491c",  // PPC64LE
    "b933fb22-5c3f-4f91-af90-e2bb0fa50702",  // RISC-V-32
    "beaec34b-8442-439b-a40b-984381ed097d",  // RISC-V-64
    "cd0f869b-d0fb-4ca0-b141-9ea87cc78d66",  // S390
    "8a4f5770-50aa-4ed3-874a-99b710db6fea",  // S390X
    "55497029-c7c1-44cc-aa39-815ed1558630",  // TILE-Gx
  ])

  private static func types(_ texts: [String]) -> Set<GUID> { Set(texts.compactMap { GUID($0) }) }
}
