import Storage

/// A record of changes that does not count, so that its points do not move over with what its disk holds.
package struct RefusedRecord: Sendable {
  /// Of the image.
  package var path: String
  package var reason: ImageError
}

extension OfflineChain {
  /// The records of the files above the one at `depth` that do not count. Changes nothing. Waits.
  ///
  /// - Parameter isSoleWriter: as for `merge(into:isSoleWriter:)`.
  package func refusedRecords(above depth: Int, isSoleWriter: Bool) throws(ImageError) -> [RefusedRecord] {
    var refused: [RefusedRecord] = []
    for image in images[..<depth] {
      let facts = try library.record(of: image, isSoleWriter: isSoleWriter).facts(image.layer)
      guard facts.state == .refused, let reason = facts.refusal else { continue }
      refused.append(RefusedRecord(path: image.reference.path, reason: reason))
    }
    return refused
  }
}
