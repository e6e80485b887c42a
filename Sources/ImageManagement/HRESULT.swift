import Storage
import SystemPackage

/// The HRESULT of a failure, as Hyper-V's jobs have it (JobCompletionStatusCode).
///
/// The codes of virtual disks (0xC03A…) where one says what the errno says here; else 0x8007 and the Win32 error of the
/// errno; else E_FAIL. The table stands in docs/control-files.md.
struct HRESULT: Hashable, Sendable {
  let rawValue: UInt32

  static let ok = HRESULT(rawValue: 0)
  /// 0x80004005, E_FAIL: no other code names it.
  static let failed = HRESULT(rawValue: 0x8000_4005)

  init(rawValue: UInt32) { self.rawValue = rawValue }

  private init(win32 code: UInt32) { rawValue = 0x8007_0000 | code }

  init(_ error: ImageError) {
    switch error.errno {
    case .notPermitted: self.init(rawValue: 0xC03A_001C)  // the disk's state
    case .tooManySymbolicLinkLevels: self.init(rawValue: 0xC03A_0018)  // the chain has a cycle
    case Errno(rawValue: 116): self.init(rawValue: 0xC03A_0022)  // ESTALE: changed offline
    case .noSuchFileOrDirectory: self.init(win32: 2)
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem: self.init(win32: 4)
    case .permissionDenied: self.init(win32: 5)
    case .noMemory: self.init(win32: 14)
    case .readOnlyFileSystem: self.init(win32: 19)  // write-protected
    case .resourceTemporarilyUnavailable: self.init(win32: 21)  // not ready
    case .resourceBusy: self.init(win32: 32)  // sharing violation
    case Errno(rawValue: 95): self.init(win32: 50)  // EOPNOTSUPP
    case .fileExists: self.init(win32: 80)
    case .invalidArgument: self.init(win32: 87)
    case .noSpace: self.init(win32: 112)
    case .fileTooLarge: self.init(win32: 223)
    case .ioError: self.init(win32: 1117)
    case .noSuchAddressOrDevice: self.init(win32: 1168)  // not found
    case .canceled: self.init(win32: 1223)
    case Errno(rawValue: 122): self.init(win32: 1295)  // EDQUOT
    case Errno(rawValue: 74): self.init(win32: 1392)  // EBADMSG: corrupt
    case Errno(rawValue: 110): self.init(win32: 1460)  // ETIMEDOUT
    default: self = .failed
    }
  }

  /// `0xC03A001C`.
  var text: String {
    let digits = String(rawValue, radix: 16, uppercase: true)
    return "0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
  }
}
