import SystemPackage
import Testing

@testable import Storage

@Suite("Values")
struct ValueTests {
  @Test("A GUID is printed and read mixed-endian, as Windows does")
  func guid() throws {
    let bytes: [UInt8] = [
      0x66, 0x77, 0xC2, 0x2D, 0x23, 0xF6, 0x00, 0x42, 0x9D, 0x64, 0x11, 0x5E, 0x9B, 0xFD, 0x4A, 0x08,
    ]
    let guid = bytes.withUnsafeBytes { GUID($0, at: 0) }
    #expect(guid.description == "2dc27766-f623-4200-9d64-115e9bfd4a08")
    #expect(GUID("{2DC27766-F623-4200-9D64-115E9BFD4A08}") == guid)
    #expect(GUID("2DC27766-F623-4200-9D64-115E9BFD4A0") == nil)
    #expect(GUID("2DC27766-F623-4200-9D64-115E9BFD4A0G") == nil)
    #expect(GUID("") == nil)
    let random = GUID.random().description
    // Version 4, variant 1, where they are printed.
    #expect(random[random.index(random.startIndex, offsetBy: 14)] == "4")
    #expect("89ab".contains(random[random.index(random.startIndex, offsetBy: 19)]))
  }

  @Test("Text from files cannot break out of its line")
  func escaping() {
    #expect(escaped("plain äöü") == "plain äöü")
    #expect(escaped("a\nb\\c\u{7f}\u{1b}[31m") == "a\\012b\\134c\\177\\033[31m")
    #expect(escaped("a\u{9b}b\u{202e}c") == "a\\302\\233b\\342\\200\\256c")
  }

  @Test("Every return value has its errno, and an errno of the system is kept")
  func returnValues() {
    let table: [(ReturnValue, Int32)] = [
      (.failed, 5), (.accessDenied, 13), (.notSupported, 95), (.unknown, 121), (.timeout, 110),
      (.invalidParameter, 22), (.inUse, 16), (.invalidState, 1), (.wrongDataType, 74), (.notAvailable, 11),
      (.outOfMemory, 12), (.fileNotFound, 2), (.chainHasCycle, 40), (.objectNotFound, 6),
    ]
    for (value, errno) in table {
      #expect(value.usualErrno.rawValue == errno)
      if value != .objectNotFound { #expect(ReturnValue(errno: value.usualErrno) == value) }
    }
    let full = ImageError(errno: .noSpace, "the disk is full")
    #expect(full.returnValue == .failed && full.errno == .noSpace)
    let outer = ImageError(.invalidState, "outer", cause: full)
    #expect(outer.description == "outer: the disk is full")
    #expect(outer.chain.map(\.errno) == [.notPermitted, .noSpace])
  }

  @Test("All-zero is told from nearly all-zero", arguments: [0, 1, 7, 8, 511, 4096])
  func allZero(count: Int) {
    var bytes = [UInt8](repeating: 0, count: count)
    #expect(bytes.withUnsafeBytes { $0.isAllZero })
    for place in Set([0, count / 2, count - 1]) where place >= 0 && place < count {
      bytes[place] = 1
      #expect(!bytes.withUnsafeBytes { $0.isAllZero })
      bytes[place] = 0
    }
  }

  @Test("An epoch ends only when those inside have left")
  func gate() {
    let gate = OperationGate()
    let first = gate.enter()
    let freed = gate.current
    #expect(gate.advance() == freed + 1, "nobody is left of the epoch before")
    let second = gate.enter()
    #expect(gate.advance() == freed + 1, "the first operation is inside still")
    gate.leave(first)
    #expect(gate.advance() == freed + 2)
    #expect(gate.advance() == freed + 2, "the second one is")
    gate.leave(second)
    #expect(gate.advance() == freed + 3)
  }
}
