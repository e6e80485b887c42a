import ImageManagement
import Storage

@testable import GuestLayout
@testable import MountedView

extension FuzzTarget {
  /// Partition tables of a disk.
  static let partitions = FuzzTarget(
    name: "partitions", subject: "partition tables: MBR, chains of logical partitions, GPT",
    run: { input in
      let disk = SparseImage(decoding: input)
      let sectorSize: UInt32 = disk.operations.first.map { $0.kind & 1 == 1 } ?? false ? 4096 : 512
      var bytesRead = 0
      var isOutside = false
      let table = PartitionTable.read(diskSize: disk.size, sectorSize: sectorSize) {
        offset, count -> [UInt8] in
        bytesRead += count
        isOutside = isOutside || count < 0 || UInt64(count) > disk.size || offset > disk.size - UInt64(count)
        return disk.bytes(at: offset, count: count)
      }
      try require(!isOutside, "bytes outside the disk were asked for")
      try require(bytesRead <= 10 << 20, "\(bytesRead) bytes were read")
      var last = 0
      for partition in table.partitions {
        try require(partition.number > last, "partition \(partition.number) follows \(last)")
        last = partition.number
        try require(
          partition.length > 0 && partition.firstByte < disk.size
            && partition.length <= disk.size - partition.firstByte,
          "partition \(partition.number) leaves the disk")
        try require(
          partition.firstByte % UInt64(sectorSize) == 0,
          "partition \(partition.number) begins inside a sector")
        try require(partition.name.utf16.count <= 36, "a name of \(partition.name.utf16.count) units")
        _ = partition.type.description
      }
      // 255 numbers of an MBR, 1024 entries of a GPT, and as many warnings.
      try require(
        table.partitions.count <= 1024 && table.warnings.count <= 2200, "more than the bounds allow")
    },
    form: .disk, seeds: { SeedDisks.all.map { $0.encoded() } })

  /// Names in `control` and the questions behind them.
  static let control = FuzzTarget(
    name: "control", subject: "control files: names, queries, ranges, numbers of partitions",
    maximumLength: 512,
    run: { input in
      let name = String(decoding: input, as: UTF8.self)
      if let number = PartitionWindow.number(ofName: name) {
        try require(String(number) == name && number > 0, "\(escaped(name)) is taken for partition \(number)")
        let node = NodeNumber(image: 5, .partition(number))
        try require(node.place == .partition(number) && node.serial == 5, "a node does not say what it is")
      }
      guard let query = ControlQuery(name: name) else { return }
      try require(name.hasPrefix(query.file.name), "another file is found than was named")
      if let pairs = query.pairs, let question = query.question, !question.isEmpty {
        try require(
          pairs.map { "\($0.key)=\($0.value)" }.joined(separator: "&") == question,
          "a question is not what was asked")
      }
      guard let question = answer({ () throws(ImageError) in try ControlQuestion(query) }) else { return }
      for size: UInt64 in [1, 512, 1 << 40, UInt64(Int64.max)] {
        guard let range = answer({ () throws(ImageError) in try question.range(ofDisk: size, "disk") }) else {
          continue
        }
        try require(range.upperBound <= size, "a range of \(range) on a disk of \(size) bytes")
      }
    },
    form: .text,
    words: [
      "info", "chain", "map", "error", "?", "&", "=", "format=", "json", "text", "offset=", "length=", "0",
      "18446744073709551615",
    ],
    seeds: {
      [
        "info", "map?offset=4096&length=512&format=json", "chain?format=text", "error", "128",
        "info?format=json",
      ].map {
        Array($0.utf8)
      }
    })

  /// Lines that are written to operation files.
  static let orders = FuzzTarget(
    name: "orders", subject: "lines that begin an operation", maximumLength: 512,
    run: { input in
      let line = String(decoding: input, as: UTF8.self)
      guard let order = answer({ () throws(ImageError) in try JobOrder(line: line) }) else { return }
      try require(order.longestWait ?? 0 <= 86400 * 365, "a wait of \(order.longestWait ?? 0) s")
      let said = order.words.line
      guard let again = answer({ () throws(ImageError) in try OperationWords(line: said) }) else {
        throw BrokenPromise(description: "\(escaped(said)) is refused")
      }
      try require(again.line == said, "\(escaped(said)) is read as \(escaped(again.line))")
    },
    form: .text, words: ["async", "wait=", "\"", "\\040", "\\134", "=", " ", "into=", "quick", "force"],
    seeds: {
      ["quick async wait=5", "\"base disk.vhdx\" force", "into=a\\040b.vhdx delete", "\"k=v\" ./k=v"].map {
        Array($0.utf8)
      }
    })

  /// The words of `-o`.
  static let options = FuzzTarget(
    name: "options", subject: "mount options", maximumLength: 512,
    run: { input in
      var options = MountOptions(sources: ["/a"], mountPoint: "/b")
      let text = String(decoding: input, as: UTF8.self)
      guard answer({ () throws(ImageError) in try options.apply(words: text) }) != nil else { return }
      try require(options.mask <= 0o777, "a mask of \(options.mask)")
      try require(options.parentDirectories.allSatisfy { !$0.isEmpty }, "an empty directory of parents")
      // What is handed to the process in the background says the same.
      var again = MountOptions(sources: ["/a"], mountPoint: "/b")
      var words = options.commandLine[...]
      while let word = words.popFirst(), word != "--" {
        if word == "--read-only" { again.isReadOnly = true }
        if word == "-o", let value = words.popFirst() {
          try require(
            answer { () throws(ImageError) in try again.apply(words: value) } != nil, "\(value) is refused")
        }
        if word.hasPrefix("--parents=") { again.parentDirectories.append(String(word.dropFirst(10))) }
      }
      try require(again == options, "the process in the background would be told something else")
    },
    form: .text,
    words: [
      "ro", "rw", "allow_other", "uid=", "gid=", "umask=", "parents=", ",", "\\,", "0777", "4294967295", "x-",
      "defaults", "track", "tracking=strict", "sole-writer",
    ],
    seeds: {
      [
        "ro,allow_other,uid=1000,gid=0,umask=077,parents=/a\\,b", "defaults,nofail,x-systemd.automount", "rw",
        "track,tracking=strict,sole-writer",
      ]
      .map {
        Array($0.utf8)
      }
    })

  /// Lines of the kernel's table of mounts: others choose the names in it.
  static let mounts = FuzzTarget(
    name: "mounts", subject: "lines of the kernel's table of mounts", maximumLength: 1024,
    run: { input in
      guard let entry = MountEntry(line: Array(input)[...]) else { return }
      try require(entry.mountPoint.utf8.count <= input.count * 3, "a mount point longer than its line")
      try require(entry.isOurs == (entry.type == "fuse.vhdfs"), "whose mount it is depends on something else")
    },
    form: .text, words: [" ", " - ", "\\040", "fuse.vhdfs", "\\", "user_id=0"],
    seeds: {
      [
        "36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - fuse.vhdfs vhdfs rw,user_id=0,group_id=0",
        "36 35 98:0 /r /p rw - ext4 /dev/sda1 rw",
      ].map { Array($0.utf8) }
    })
}
