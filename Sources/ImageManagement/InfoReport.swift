import Storage
import VirtualDisk

/// What an image is and the state it is in: the contents of `control/info`, and what the command `info` prints.
///
/// The keys stand in docs/control-files.md; those that do not apply are left out. An image that cannot be understood
/// has its path, `state error` and the reason.
public struct InfoReport: Sendable {
  let entry: ImageEntry
  let parentPath: String?
  let tracking: TrackingFacts.State?

  /// - Parameters:
  ///   - parentPath: where the parent was found; nil shows the first path that the image records.
  ///   - tracking: whether changes are tracked; nil: it cannot be told.
  public init(
    _ entry: ImageEntry, parentPath: String? = nil, tracking: TrackingFacts.State? = nil
  ) {
    self.entry = entry
    self.parentPath = parentPath
    self.tracking = tracking
  }

  /// The whole report, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] { fields.report(as: format) }

  var fields: [ReportField] {
    var fields = [ReportField("path", .text(entry.path))]
    switch entry.facts {
    case .success(let facts):
      fields += facts.fields(parentPath: parentPath)
      fields.append(
        ReportField("state", .text(entry.operation != nil ? "busy" : entry.isOnline ? "online" : "offline")))
      fields.append(ReportField("read_only", .flag(entry.readOnlyReason != nil)))
      if let reason = entry.readOnlyReason { fields.append(ReportField("reason", .sentence(reason))) }
      if let name = entry.validOnlyBelow { fields.append(ReportField("valid_only_below", .text(name))) }
      fields += facts.stateFields
      if let tracking { fields.append(ReportField("tracking", .text(tracking.rawValue))) }
    case .failure(let error):
      fields.append(ReportField("state", .text("error")))
      fields.append(ReportField("read_only", .flag(true)))
      fields.append(ReportField("reason", .sentence(error.description)))
    }
    return fields
  }
}

extension ImageFacts {
  /// What the image is, in the documented order.
  func fields(parentPath: String?) -> [ReportField] {
    var fields = [
      ReportField("format", .text(format.rawValue)),
      ReportField("type", .text(type.rawValue)),
      ReportField("virtual_size", .number(virtualSize)),
      ReportField("file_size", .number(hostStatus.size)),
      ReportField("allocated_size", .number(hostStatus.allocated)),
    ]
    if let blockSize { fields.append(ReportField("block_size", .number(blockSize))) }
    fields.append(ReportField("logical_sector_size", .number(UInt64(logicalSectorSize))))
    fields.append(ReportField("physical_sector_size", .number(UInt64(physicalSectorSize))))
    fields.append(ReportField("virtual_disk_id", .text(virtualDiskID.description)))
    if let dataWriteGUID { fields.append(ReportField("data_write_guid", .text(dataWriteGUID.description))) }
    if let path = parentPath ?? recordedParentPaths.first {
      fields.append(ReportField("parent_path", .text(path)))
    }
    if let parentIdentifier {
      fields.append(ReportField("parent_identifier", .text(parentIdentifier.description)))
    }
    if !creator.isEmpty { fields.append(ReportField("creator", .text(creator))) }
    return fields
  }

  /// What follows `state` in the documented order.
  var stateFields: [ReportField] {
    var fields: [ReportField] = []
    if let logIsDirty { fields.append(ReportField("log_dirty", .flag(logIsDirty))) }
    fields.append(ReportField("alignment", .number(isAligned4K ? 4096 : 512)))
    if let isInSavedState { fields.append(ReportField("saved_state", .flag(isInSavedState))) }
    return fields
  }
}
