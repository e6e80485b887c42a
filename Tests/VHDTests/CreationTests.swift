import Storage
import TestSupport
import Testing

@testable import VHD

/// New images are laid out as Windows 10 does it, and within the format's limits.
@Suite struct CreationTests {
  func make(_ options: VHDCreation) throws -> (double: RecordingFile, image: VHDImage) {
    let double = RecordingFile()
    try VHDImage.create(double.file, options)
    return (double, try VHDImage(double.file))
  }

  @Test func everythingIsDurable() throws {
    for kind in [VHDCreation.Kind.fixed(reserve: true), .fixed(reserve: false), .dynamic] {
      let (double, _) = try make(VHDCreation(kind: kind, virtualSize: 8 << 20))
      var generator = SeededGenerator(seed: 1)
      for _ in 0..<10 {
        let left = RecordingFile(double.crash(at: double.position, &generator))
        #expect(try VHDImage(left.file).virtualSize == 8 << 20)
      }
    }
  }

  /// The file of the Windows 10 specimen: table at 8192, footer at the end of 81920 bytes, first data at
  /// 0x14000.
  @Test func childIsLaidOutAsWindowsDoes() throws {
    let parent = VHDParent(
      uniqueID: .random(), timeStamp: 7, relativePath: "win8.vhd",
      absolutePath: #"C:\Users\sergi\Downloads\win8.vhd"#)
    let (double, image) = try make(VHDCreation(kind: .differencing(parent: parent), virtualSize: 40 << 20))
    #expect(try double.size() == 81920)
    #expect(image.header?.tableOffset == 0x2000)
    #expect(image.parent?.parentUniqueID == parent.uniqueID)
    #expect(image.parent?.parentTimeStamp == 7)
    #expect(image.parent?.relativePaths == [#".\win8.vhd"#])
    #expect(image.header?.parentName == #"C:\Users\sergi\Downloads\win8.vhd"#)
    try image.beginWriting()
    let run = try image.prepareWrite(at: 4096, limit: 512, mayAllocate: true, mayWait: true)
    #expect(run.kind == .tracked && run.fileOffset == 0x14000 + 4096)
  }

  @Test func longPathsFit() throws {
    let directory = "/" + String(repeating: "d/", count: 5000)
    let parent = VHDParent(
      uniqueID: .random(), timeStamp: 0, relativePath: "../x/../p.vhd", absolutePath: directory + "pärent.vhd"
    )
    let (_, image) = try make(VHDCreation(kind: .differencing(parent: parent), virtualSize: 5 << 30))
    #expect(image.parent?.relativePaths == [#"..\x\..\p.vhd"#])
    #expect(image.parent?.otherPaths.last == "pärent.vhd")
    #expect(image.parent?.otherPaths.first?.hasSuffix(#"\d\d\pärent.vhd"#) == true)
  }

  @Test func sizes() throws {
    for size in [512, 1024, 3 << 20, VHDCreation.largestSize] as [UInt64] {
      #expect(try make(VHDCreation(kind: .dynamic, virtualSize: size)).image.virtualSize == size)
      #expect(
        try make(VHDCreation(kind: .dynamic, virtualSize: size, blockSize: 512 << 10)).image.virtualSize
          == size)
    }
    let azure = try make(
      VHDCreation(kind: .fixed(reserve: false), virtualSize: (5 << 20) + 1, roundsUpToMebibyte: true))
    #expect(azure.image.virtualSize == 6 << 20)
    #expect(try azure.double.size() == 6 << 20 + 512)
    for size in [0, 511, 513, VHDCreation.largestSize + 512, .max] as [UInt64] {
      #expect(throws: ImageError.self) { try make(VHDCreation(kind: .dynamic, virtualSize: size)) }
      #expect(throws: ImageError.self) {
        try make(VHDCreation(kind: .fixed(reserve: false), virtualSize: size))
      }
    }
    for blockSize in [0, 4096, 1 << 20, 2 << 20 + 1, 4 << 20] as [UInt32] {
      #expect(throws: ImageError.self) {
        try make(VHDCreation(kind: .dynamic, virtualSize: 1 << 30, blockSize: blockSize))
      }
    }
    let (double, _) = try make(VHDCreation(kind: .dynamic, virtualSize: 1 << 20))
    #expect(throws: ImageError.self) {
      try VHDImage.create(double.file, VHDCreation(kind: .dynamic, virtualSize: 1 << 20))
    }
  }

  /// Every block of the largest disk fits below the last sector number, whatever the block size.
  @Test(arguments: VHDCreation.blockSizes) func largestDiskFits(_ blockSize: UInt32) throws {
    let (_, image) = try make(
      VHDCreation(kind: .dynamic, virtualSize: VHDCreation.largestSize, blockSize: blockSize))
    let layout = try #require(image.blocks?.layout)
    let end = layout.place(from: layout.tablesEnd) + layout.blockCount * layout.step + 512
    #expect(end <= BlockLayout.largestFile)
    #expect(layout.dataAlignment == (blockSize == 2 << 20 ? 4096 : 512))
  }

  @Test(.requiresPrograms("qemu-img", "qemu-io"), arguments: VHDCreation.blockSizes)
  func largestDiskIsWrittenAtItsEnd(_ blockSize: UInt32) throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("large.vhd")
    try VHDImage.create(
      try HostFile.create(path),
      VHDCreation(kind: .dynamic, virtualSize: VHDCreation.largestSize, blockSize: blockSize))
    let image = try VHDImage(try HostFile.open(path, writable: true))
    let disk = SmallDisk([image])
    try image.beginWriting()
    for offset in [0, 1 << 40, VHDCreation.largestSize - 5000] as [UInt64] {
      try disk.write([UInt8](repeating: 0xA5, count: 5000), at: offset)
    }
    try image.finishWriting()
    let info = try runChecked(["qemu-img", "info", "--output=json", path])
    #expect(info.contains("\"virtual-size\": \(VHDCreation.largestSize)"))
    try runChecked([
      "qemu-io", "-r", "-f", "vpc", "-c", "read -P 0xa5 \(VHDCreation.largestSize - 5000) 5000", "-c",
      "read -P 0 \((1 << 40) + 5000) 5000", "-c", "read -P 0xa5 \(1 << 40) 5000", path,
    ])
  }
}
