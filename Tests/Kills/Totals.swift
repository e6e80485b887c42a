/// What came of a number of rounds.
package struct Totals: Sendable {
  package var rounds = 0
  /// Rounds by what was written to and what wrote.
  package var byKind: [String: Int] = [:]
  package var byLoad: [String: Int] = [:]
  /// Kills that left a log to be replayed.
  package var dirtyLogs = 0
  /// Kills during a flush, or a write that carries one.
  package var kills = 0
  package var killsInSync = 0
  package var writes = 0
  package var syncs = 0
  /// Sectors with a record that were checked after a kill, and those that were open to more than one state.
  package var records = 0
  package var openSectors = 0
  package var newerSectors = 0
  /// Killed images that QEMU mended or read to the same contents.
  package var readByQEMU = 0
  package var blocksCheckedByFio = 0
  package var filesChecked = 0
  package var rowsChecked = 0
  package var fileSystemChecks = 0
  package var imagesCompared = 0
  package var failures = 0

  package init() {}

  package static func += (left: inout Totals, right: Totals) {
    left.byKind.merge(right.byKind, uniquingKeysWith: +)
    left.byLoad.merge(right.byLoad, uniquingKeysWith: +)
    for path: WritableKeyPath<Totals, Int> in [
      \.rounds, \.dirtyLogs, \.kills, \.killsInSync, \.writes, \.syncs, \.records, \.openSectors,
      \.newerSectors,
      \.readByQEMU, \.blocksCheckedByFio, \.filesChecked, \.rowsChecked, \.fileSystemChecks, \.imagesCompared,
      \.failures,
    ] { left[keyPath: path] += right[keyPath: path] }
  }

  package var report: String {
    func list(_ counts: [String: Int]) -> String {
      counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
    return """
      rounds                      \(rounds): \(list(byLoad))
      kinds                       \(list(byKind))
      kills that left a dirty log \(dirtyLogs)
      kills during a flush        \(killsInSync)
      writes, flushes             \(writes), \(syncs)
      records checked             \(records), of them open \(openSectors), newer than the last flush \(newerSectors)
      killed images QEMU read     \(readByQEMU)
      blocks checked by fio       \(blocksCheckedByFio)
      files, database rows        \(filesChecked), \(rowsChecked)
      file system checks          \(fileSystemChecks)
      clean images compared       \(imagesCompared)
      failures                    \(failures)
      """
  }
}
