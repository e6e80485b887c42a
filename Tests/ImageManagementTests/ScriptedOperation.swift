import Storage
import Synchronization

@testable import ImageManagement

/// An operation that does what its test says; found by the image's name.
final class ScriptedOperation: Operation {
  static let word = "compact"
  static let jobType = JobType.compaction

  final class Script: Sendable {
    let link: OperationLink?
    let check: @Sendable (OperationRequest) throws(ImageError) -> Void
    let body: @Sendable (OperationProgress) throws(ImageError) -> [ReportField]
    let closes = Atomic<Int>(0)

    init(
      link: OperationLink? = nil,
      check: @escaping @Sendable (OperationRequest) throws(ImageError) -> Void = { _ in },
      body: @escaping @Sendable (OperationProgress) throws(ImageError) -> [ReportField] = { _ in [] }
    ) {
      self.link = link
      self.check = check
      self.body = body
    }
  }

  private static let scripts = Mutex<[String: Script]>([:])

  static func set(_ script: Script, for image: String) { scripts.withLock { $0[image] = script } }

  private let script: Script
  var link: OperationLink? { script.link }

  init(_ request: OperationRequest) throws(ImageError) {
    guard let script = ScriptedOperation.scripts.withLock({ $0[request.image] }) else {
      throw ImageError(.fileNotFound, "no script for \(request.image)")
    }
    self.script = script
    try script.check(request)
  }

  func run(_ progress: OperationProgress) throws(ImageError) -> [ReportField] { try script.body(progress) }

  func close() { script.closes.add(1, ordering: .relaxed) }
}

/// A door that a thread waits at until it is opened.
final class Door: Sendable {
  private let isOpen = Atomic<Bool>(false)

  func open() { isOpen.store(true, ordering: .releasing) }

  /// False when nobody opened it for ten seconds.
  @discardableResult
  func wait() -> Bool {
    for _ in 0..<10_000 {
      if isOpen.load(ordering: .acquiring) { return true }
      pause(milliseconds: 1)
    }
    return false
  }
}
