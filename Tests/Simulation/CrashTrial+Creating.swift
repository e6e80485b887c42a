import Storage
import TestSupport
import VirtualDisk

extension CrashTrial {
  /// Makes an image, with every power cut tried on the way: what is left is no image, or all of it.
  package mutating func runCreation(_ kind: ChainKind) throws {
    let size = CrashHistory.usualSize(kind)
    // The leaf's parent, and the disk that it shows.
    let chain = try CrashChain(kind, size: size)
    let expected =
      try chain.parents.map { try CrashRecord.read($0, DiskWindow([0..<size])) }
      ?? [UInt8](repeating: 0, count: size)
    let double = RecordedFile()
    double.record()
    try CrashChain.create(kind, size: size, parent: chain.leafParent, in: double)
    func failure(_ number: Int, _ choice: String, _ epoch: RecordedEpoch?, _ sentence: String) -> CrashFailure
    {
      CrashFailure(
        history: "creation", kind: kind, seed: 1, epoch: number, choice: choice,
        changes: epoch?.outline ?? [],
        sentence: sentence)
    }
    guard double.pendingCount == 0 else {
      throw failure(-1, "all", nil, "\(double.pendingCount) changes were not flushed when the image was made")
    }
    noteHistory()
    for (number, epoch) in double.epochs.enumerated() {
      let isExhaustive = try epoch.forEachChoice(budget, seed: UInt64(number)) { choice in
        if let sentence = CrashTrial.flaw(ofNew: epoch.state(choice), chain.parents, expected) {
          throw failure(number, choice.description, epoch, sentence)
        }
        noteState()
      }
      noteEpoch(isExhaustive: isExhaustive)
    }
    if let sentence = CrashTrial.flaw(ofNew: double.contents, chain.parents, expected, isWhole: true) {
      throw failure(double.epochs.count, "all", nil, sentence)
    }
  }

  /// What is wrong with a file that opens as an image.
  private static func flaw(
    ofNew state: SparseBytes, _ parents: VirtualDisk?, _ expected: [UInt8], isWhole: Bool = false
  ) -> String? {
    let disk: VirtualDisk
    do throws(ImageError) {
      disk = try VirtualDisk(
        leaf: HostFile(path: "new", double: RecordedFile(state), isWritable: false), over: parents)
    } catch {
      return isWhole ? "\(error)" : nil
    }
    do throws(ImageError) {
      let findings = try disk.validateLeaf()
      if let finding = findings.all.first(where: { $0.severity == .damage || isWhole }) {
        return finding.description
      }
      let found = try CrashRecord.read(disk, DiskWindow([0..<expected.count]))
      return found == expected ? nil : "the new image does not read as it should"
    } catch {
      return "opens, but: \(error)"
    }
  }
}
