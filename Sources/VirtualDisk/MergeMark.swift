import ChangeTracking
import Storage
import VHDX

/// What the child of a merge's destination says of that merge: that the content of `source` was merged past this file, so that
/// this file, and those between the two, read right only below the source.
///
/// It stands in the file's parent locator, beside the keys that the format defines, which other readers pass over. The
/// source carries the merge's `id` there too (`MergeIDs`): that goes along with the file when it is renamed, copied or
/// written, and no other file has it.
struct MergeMark: Equatable, Sendable {
  private static let nameKey = "vhdfs_merge_source"
  private static let idKey = "vhdfs_merge_id"
  private static let sourceKey = "vhdfs_merge_source_linkage"
  private static let ownKey = "vhdfs_merge_own_linkage"
  private static let destinationKey = "vhdfs_merge_destination_linkage"

  /// The source's file name then.
  var name: String
  /// Nil for one that cannot be understood: no file carries that.
  var id: GUID?
  /// The source's DataWriteGuid then.
  var source: GUID?
  /// This file's own DataWriteGuid then.
  var own: GUID?
  /// The DataWriteGuid that the destination got.
  var destination: GUID?
  /// The merge is done: this file knows its parent by one identity alone.
  var isSettled = false
  /// This file's parent is the destination still, and that was not changed since.
  var isInPlace = false

  init(id: GUID, name: String, source: GUID?, own: GUID?, destination: GUID) {
    self.destination = destination
    self.id = id
    self.name = name
    self.source = source
    self.own = own
  }

  init?(_ locator: VHDX.ParentLocator) {
    guard let name = locator.otherValues[MergeMark.nameKey] else { return nil }
    func guid(_ key: String) -> GUID? { locator.otherValues[key].flatMap { GUID($0) } }
    self.name = name
    id = guid(MergeMark.idKey)
    source = guid(MergeMark.sourceKey)
    own = guid(MergeMark.ownKey)
    destination = guid(MergeMark.destinationKey)
    isSettled = locator.linkage2 == nil
    isInPlace = isSettled && locator.linkage == destination
  }

  /// Whether it is settled, and in place, follows from the locator.
  func store(in locator: inout VHDX.ParentLocator) {
    locator.otherValues[MergeMark.nameKey] = name
    locator.otherValues[MergeMark.idKey] = id.map { "{\($0)}" }
    locator.otherValues[MergeMark.sourceKey] = source.map { "{\($0)}" }
    locator.otherValues[MergeMark.ownKey] = own.map { "{\($0)}" }
    locator.otherValues[MergeMark.destinationKey] = destination.map { "{\($0)}" }
  }
}

/// The merges of which a file holds the content: it was their source, or it was merged into since, from such a one. Their
/// marks do not make it, nor what stands on it, useless.
enum MergeIDs {
  private static let key = "vhdfs_merge_ids"

  static func of(_ locator: VHDX.ParentLocator) -> Set<GUID> {
    guard let text = locator.otherValues[key] else { return [] }
    return Set(text.split(separator: " ").compactMap { GUID(String($0)) })
  }

  static func store(_ ids: Set<GUID>, in locator: inout VHDX.ParentLocator) {
    let texts = ids.map { "{\($0)}" }.sorted()
    locator.otherValues[key] = texts.isEmpty ? nil : texts.joined(separator: " ")
  }
}
