import Foundation
import SystemPackage
import Testing

@testable import Storage

@Suite("Host files")
struct HostFileTests {
  static func withFile(_ body: (String) throws -> Void) throws {
    let path = NSTemporaryDirectory() + "vhdfs-hostfile-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  @Test("An existing file is never replaced, and only regular files are opened")
  func opening() throws {
    try HostFileTests.withFile { path in
      _ = try HostFile.create(path)
      #expect { try HostFile.create(path) } throws: { ($0 as? ImageError)?.errno == .fileExists }
      #expect { try HostFile.open("/dev/null", writable: false) } throws: {
        ($0 as? ImageError)?.returnValue == .notSupported
      }
      #expect { try HostFile.open(path + ".none", writable: false) } throws: {
        ($0 as? ImageError)?.returnValue == .fileNotFound
      }
    }
  }

  @Test("Reads are whole or an error; zeroed and punched ranges read as zero")
  func transfer() throws {
    try HostFileTests.withFile { path in
      let file = try HostFile.create(path)
      try file.write([UInt8](repeating: 7, count: 300_000), at: 100)
      #expect(try file.size() == 300_100)
      var buffer = [UInt8](repeating: 1, count: 200)
      #expect(throws: ImageError.self) {
        try buffer.withUnsafeMutableBytes { try file.read(into: $0, at: 300_000) }
      }
      try file.punch(at: 4096, length: 8192)
      try file.zeroInPlace(at: 20_000, length: 10)
      for (offset, value) in [
        (4000, UInt8(7)), (4096, 0), (12_287, 0), (12_288, 7), (20_000, 0), (20_010, 7),
      ] {
        var byte = [UInt8](repeating: 9, count: 1)
        try byte.withUnsafeMutableBytes { try file.read(into: $0, at: UInt64(offset)) }
        #expect(byte[0] == value, "at \(offset)")
      }
      #expect(try file.size() == 300_100)
    }
  }

  @Test("One writer or many readers, and the refusal says who it was")
  func locks() throws {
    try HostFileTests.withFile { path in
      _ = try HostFile.create(path)
      let first = try HostFile.open(path, writable: true)
      let second = try HostFile.open(path, writable: true)
      guard case .taken = try first.lock(.reader) else { return }
      _ = try second.lock(.reader)
      #expect { try first.lock(.writer) } throws: { ($0 as? ImageError)?.returnValue == .inUse }
      second.unlock()
      _ = try first.lock(.writer)
      #expect { try second.lock(.reader) } throws: { ($0 as? ImageError)?.errno == .resourceBusy }
      first.unlockToReader()
      _ = try second.lock(.reader)
      #expect(LockHolder.holders(of: first.identity, except: 0).contains { $0.process == getpid() })
    }
  }
}
