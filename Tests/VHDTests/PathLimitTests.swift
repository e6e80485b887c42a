import Storage
import TestSupport
import Testing

@testable import VHD

/// A recorded path of a parent may be 64 KiB long; a longer one is refused before there is memory for it.
@Suite struct PathLimitTests {
  @Test(arguments: [65_536, 65_537, 1 << 30, Int(UInt32.max)]) func length(length: Int) throws {
    var contents = SparseBytes()
    // A file that is long enough, so that it is the length by itself that counts.
    contents.resize(to: 8 << 30)
    let path = [UInt8](repeating: 0x61, count: min(length, 65_536))
    path.withUnsafeBytes { contents.write($0, at: 4096) }
    let file = HostFile(path: "a.vhd", double: RecordedFile(contents))
    var header = DynamicHeader()
    header.locators = [
      ParentLocator(platform: .w2ru, dataSpace: 65536, dataLength: UInt32(length), dataOffset: 4096)
    ]
    if length <= 65_536 {
      let parent = try ParentReference(header, file: file, fileSize: 8 << 30)
      #expect(parent.relativePaths.first?.utf16.count == length / 2)
    } else {
      #expect {
        try ParentReference(header, file: file, fileSize: 8 << 30)
      } throws: { error in
        (error as? ImageError)?.returnValue == .wrongDataType && "\(error)".contains("\(length) bytes long")
      }
    }
  }
}
