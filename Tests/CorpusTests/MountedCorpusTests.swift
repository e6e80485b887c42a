import Glibc
import TestSupport
import Testing

/// Every image of the corpus through mounts.
@Suite(.serialized, .requiresMount, .requiresCorpus)
struct MountedCorpusTests {
  /// Up to here disks are read whole; larger ones where SEEK_DATA finds data.
  private static let readWhole: UInt64 = 64 << 20

  @Test func everyImageReadsThroughAMount() throws {
    let root = try Corpus.unpacked()
    let images = Corpus.images.filter { $0.expectation == .read || $0.expectation == .policy }
    let before = try state(of: images.map { "\(root)/\($0.path)" })
    // Names are unique within a mount: as many mounts as it takes, each over whole directories.
    for directories in try groups(images) {
      let point = try TemporaryDirectory()
      let parents = directories.filter { $0.hasSuffix("/sub") }.flatMap { ["--parents", "\(root)/\($0)/.."] }
      let mount = try VhdfsMount(directories.map { "\(root)/\($0)" }, at: point.path, parents)
      for image in images where directories.contains(directory(of: image)) {
        let disk = mount.file(image.name)
        #expect(try sizes(of: disk).size == image.virtualSize, "\(image)")
        if let sum = image.sha256, (image.virtualSize ?? 0) <= Self.readWhole {
          #expect(try sha256(ofFile: disk) == sum, "\(image)")
        } else if let sum = image.sparseSum {
          #expect(try sparseDigest(ofFile: disk) == sum, "\(image)")
        }
        let info = try mount.text(image.name, "control/info")
        #expect(info.contains("virtual_size \(image.virtualSize ?? 0)\n"), "\(image): \(info)")
      }
      try mount.unmount()
    }
    let changed = try state(of: images.map { "\(root)/\($0.path)" }).subtracting(before)
    #expect(changed.isEmpty, "changed by reading: \(changed)")
  }

  /// One mount over all that is hostile: each answers or fails on its own, soon, and the server stays small.
  @Test func hostileImagesInOneMount() throws {
    let root = try HostileCorpus.directory()
    let point = try TemporaryDirectory()
    let mount = try VhdfsMount([root], at: point.path)
    for image in Corpus.images where image.path.hasPrefix("hostile/") && !image.path.contains("/deep/") {
      let started = now()
      let disk = mount.file(image.name)
      let sum = try? runChecked(["sha256sum", disk], timeout: 10)
      switch image.expectation {
      case .refused: #expect(sum == nil, "\(image)")
      case .recoverable: #expect(sum?.hasPrefix(HostileCorpus.goodVHDX) == true, "\(image)")
      case .readError:
        if let damage = HostileCorpus.damage[image.name], !damage.range.isEmpty {
          #expect(sum == nil, "\(image)")
          let file = try? OpenFile(disk)
          #expect((try? file?.read(at: damage.range.lowerBound, count: 512)) == nil, "\(image)")
        }
      default: break
      }
      let info = try mount.text(image.name, "control/info")
      #expect(info.contains("state "), "\(image): \(info)")
      if sum == nil {
        let error = try mount.text(image.name, "control/error")
        #expect(error.contains(image.name) || info.contains("reason "), "\(image): \(error)")
      }
      _ = try? mount.text(image.name, "control/map")
      #expect(now() - started < 10, "\(image)")
      #expect(mount.server.isRunning, "\(image)")
    }
    let memory = memoryHighWater(of: mount.server.pid) ?? .max
    #expect(memory < 256 << 20, "\(memory >> 20) MiB")
    try mount.unmount()
  }

  private func directory(of image: CorpusImage) -> String {
    String(image.path[..<(image.path.lastIndex(of: "/") ?? image.path.startIndex)])
  }

  /// The directories of the images, so divided that no name stands twice in one part.
  private func groups(_ images: [CorpusImage]) throws -> [[String]] {
    let root = try Corpus.unpacked()
    var groups: [(directories: [String], names: Set<String>)] = []
    for directory in Set(images.map { directory(of: $0) }).sorted() {
      let names = Set(try names(in: "\(root)/\(directory)"))
      if let index = groups.firstIndex(where: { $0.names.isDisjoint(with: names) }) {
        groups[index].directories.append(directory)
        groups[index].names.formUnion(names)
      } else {
        groups.append(([directory], names))
      }
    }
    return groups.map(\.directories)
  }

  /// What a change of any byte would change, of each file a line; the contents too where they are small.
  private func state(of files: [String]) throws -> Set<Substring> {
    let small = try files.filter { try sizes(of: $0).size <= 8 << 20 }
    let text = try runChecked(["sha256sum"] + small) + runChecked(["stat", "-c", "%n %s %y %z"] + files)
    return Set(text.split(separator: "\n"))
  }
}
