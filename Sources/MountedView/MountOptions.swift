import Glibc
import Storage
import VirtualDisk

/// What a mount is asked to be.
public struct MountOptions: Sendable, Equatable {
  /// Image files, and directories of images.
  public var sources: [String]
  public var mountPoint: String
  /// Where parents may be found besides the images' own directories.
  public var parentDirectories: [String] = []
  /// No byte of any file is changed.
  public var isReadOnly = false
  /// Stay in the foreground, and log to the terminal.
  public var isForeground = false
  /// Others than the mounting user may come in, as far as the modes let them.
  public var allowsOthers = false
  /// Who owns the files; nil: who mounts.
  public var owner: uid_t?
  public var group: gid_t?
  /// Permission bits that no file has.
  public var mask: mode_t = 0
  /// How changes are tracked.
  public var tracking = TrackingOptions()

  public init(sources: [String], mountPoint: String) {
    self.sources = sources
    self.mountPoint = mountPoint
  }

  /// Takes over the words of `-o`: joined by commas; a comma within a value is written `\,`.
  ///
  /// Words for mount(8), fstab and systemd that mean nothing to a FUSE server are passed over.
  /// Errors: `.invalidParameter` for what is not known, with a list of what is.
  public mutating func apply(words text: String) throws(ImageError) {
    for word in MountOptions.split(text) where !word.isEmpty { try apply(word: word) }
  }

  private mutating func apply(word: String) throws(ImageError) {
    let mark = word.firstIndex(of: "=")
    let key = String(word[..<(mark ?? word.endIndex)])
    let value = mark.map { String(word[word.index(after: $0)...]) }
    switch (key, value) {
    case ("ro", nil): isReadOnly = true
    case ("rw", nil): isReadOnly = false
    case ("allow_other", nil): allowsOthers = true
    case ("uid", let value?): owner = try MountOptions.number(value, of: word, radix: 10)
    case ("gid", let value?): group = try MountOptions.number(value, of: word, radix: 10)
    case ("umask", let value?):
      mask = try MountOptions.number(value, of: word, radix: 8)
      guard mask <= 0o777 else { throw MountOptions.badNumber(word) }
    case ("track", nil): tracking.tracksAll = true
    case ("tracking", "strict"): tracking.isStrict = true
    case ("sole-writer", nil): tracking.isSoleWriter = true
    case ("parents", let value?) where !value.isEmpty: parentDirectories.append(value)
    default:
      guard MountOptions.isPassedOver(key) else {
        throw ImageError(
          .invalidParameter,
          "mount option \(escaped(word)): is not known; known are "
            + "ro, rw, allow_other, uid=, gid=, umask=, parents=, track, tracking=strict, sole-writer"
        )
      }
    }
  }

  /// Words that mount(8), fstab, libmount and systemd use among themselves, or that every mount has anyway.
  private static let passedOver: Set<String> = [
    "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "dev",
    "nodev",
    "suid", "nosuid", "exec", "noexec", "atime", "noatime", "diratime", "nodiratime", "relatime",
    "norelatime",
    "strictatime", "nostrictatime", "lazytime", "nolazytime", "sync", "async", "dirsync", "iversion",
    "noiversion",
    "mand", "nomand", "silent", "loud", "default_permissions", "fsname", "subtype", "remount", "comment",
    "loop",
    "nosymfollow", "symfollow",
  ]

  private static func isPassedOver(_ key: String) -> Bool {
    passedOver.contains(key) || key.hasPrefix("x-") || key.hasPrefix("X-") || key.hasPrefix("helper")
      || key.hasPrefix("uhelper")
  }

  private static func split(_ text: String) -> [String] {
    var words: [String] = []
    var word = ""
    var isQuoted = false
    for character in text {
      if isQuoted {
        word.append(character)
        isQuoted = false
      } else if character == "\\" {
        isQuoted = true
      } else if character == "," {
        words.append(word)
        word = ""
      } else {
        word.append(character)
      }
    }
    words.append(word)
    return words
  }

  private static func number(_ text: String, of word: String, radix: Int) throws(ImageError) -> UInt32 {
    // A sign, which Swift would take, is none of a number's here.
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt32(text, radix: radix) else {
      throw badNumber(word)
    }
    return number
  }

  private static func badNumber(_ word: String) -> ImageError {
    ImageError(
      .invalidParameter, "mount option \(escaped(word)): the value is not a number that can stand there")
  }
}
