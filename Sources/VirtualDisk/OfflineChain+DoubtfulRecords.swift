import Storage

/// The record of a VHD's changes that does not count, because the file was not closed the last time; it would if it were known
/// that no other program wrote the file since.
package struct DoubtfulRecord: Sendable {
  /// Of the image.
  package var path: String
  /// How many reference points it has.
  package var points: Int
}

extension OfflineChain {
  /// The records with points that a merge into the file at `depth` would end, or leave behind, and would not if somebody said
  /// that nobody else wrote the files (`merge(into:isSoleWriter:)`). Changes nothing. Waits.
  ///
  /// - Parameter children: those that get another parent.
  package func doubtfulRecords(to depth: Int, _ children: [TakenChild]) throws(ImageError) -> [DoubtfulRecord]
  {
    var doubtful: [DoubtfulRecord] = []
    for image in images[...depth] + children.map(\.image) {
      if let record = try library.doubtfulRecord(of: image) { doubtful.append(record) }
    }
    return doubtful
  }

  /// Says what the user should know in the log, or on the command's standard error.
  package func warn(_ sentence: String) { library.warn(sentence) }
}

extension DiskLibrary {
  fileprivate func doubtfulRecord(of image: SharedImage) throws(ImageError) -> DoubtfulRecord? {
    // A VHDX tells by its ids who wrote it.
    guard case .vhd = image.layer, !tracking.isSoleWriter else { return nil }
    let place = TrackingFile.beside(image.reference)
    let asItIs = try DiskTracking(place, tracking).facts(image.layer)
    guard asItIs.state == .refused else { return nil }
    var options = tracking
    options.isSoleWriter = true
    let believed = try DiskTracking(place, options).facts(image.layer)
    guard believed.state == .on, !believed.points.isEmpty else { return nil }
    return DoubtfulRecord(path: image.reference.path, points: believed.points.count)
  }
}
