import Storage
import VirtualDisk

/// What the words of a merge ask for.
struct MergeChoices: Sendable {
  /// The destination; nil: the direct parent.
  var path: String?
  var isForced: Bool
  var isSoleWriter: Bool
  var deletes: Bool
  var relinks: Bool
  var isDry: Bool

  init(_ words: inout OperationWords) throws(ImageError) {
    isForced = words.take(flag: "force")
    isSoleWriter = words.take(flag: "sole-writer")
    deletes = words.take(flag: "delete")
    relinks = words.take(flag: "relink")
    isDry = words.take(flag: "dry-run")
    path = try words.take(key: "into") ?? words.takeFirst()
    try words.failIfLeft(Merge.word, known: "a path, force, sole-writer, delete, relink, dry-run")
  }
}

/// What there is to do.
enum MergeTask: Sendable {
  case merge
  /// The destination cannot tell whether it is merged into already, and other children of it would be lost if it is changed. If
  /// it reads otherwise than the source the merge is refused, unless it is forced.
  case mergeUnlessSame
  /// It is merged; what was asked besides may be left to do.
  case finish
  /// A file between, which was left when the removal of merged files was cut off: it is of no use any more.
  case removal

  var changesDestination: Bool {
    switch self {
    case .merge, .mergeUnlessSame: true
    case .finish, .removal: false
    }
  }
}
