import Glibc
import ImageManagement

/// How far an operation is, for people and for programs: a bar on a terminal, plain lines elsewhere, both on the standard
/// error; or JSON events on the standard output.
struct ProgressDisplay {
  private enum Form { case bar, lines, events }

  private let word: String
  private let progress: OperationProgress
  private let form: Form
  private var meter = OperationMeter()
  private var began = 0.0
  /// What was last said, and when.
  private var saidPercent = 0
  private var saidAt = 0.0
  private var hasBar = false

  init(_ word: String, _ progress: OperationProgress, json: Bool) {
    self.word = word
    self.progress = progress
    form = json ? .events : isatty(STDERR_FILENO) == 1 ? .bar : .lines
  }

  mutating func begin(image: String) {
    began = monotonicSeconds()
    saidAt = began
    if form == .events { write(.started(operation: word, image: image)) }
  }

  /// To be called a few times a second.
  mutating func show() {
    let now = monotonicSeconds()
    let (done, total) = progress.bytes
    let percent = progress.percent
    meter.look(done: done, total: total, at: now)
    switch form {
    case .bar:
      // What is over at once needs no bar.
      guard now - began >= 0.3 else { return }
      hasBar = true
      writeToStandardError("\r" + String(bar(percent).prefix(ProgressDisplay.columns - 1)) + "\u{1B}[K")
    case .lines:
      // At most a hundred lines, however long it takes.
      guard
        percent >= saidPercent + 10 || percent > saidPercent && (now - saidAt >= 5 || percent == 100)
      else { return }
      writeToStandardError("vhdfs: \(word): \(percent) %\(details)\n")
    case .events:
      guard percent > saidPercent || now - saidAt >= 5 else { return }
      write(.progress(percent: percent, done: done, total: total, seconds: now - began))
    }
    saidPercent = percent
    saidAt = now
  }

  mutating func sayCancelling() {
    if form == .bar, hasBar { writeToStandardError("\r\u{1B}[K") }
    if form != .events { complain("\(word): ends at the next safe point") }
  }

  /// Nothing is shown any more.
  mutating func end() {
    if form != .bar, saidPercent > 0, saidPercent < 100, progress.percent == 100 { show() }
    if hasBar { writeToStandardError("\r\u{1B}[K") }
    hasBar = false
  }

  private func write(_ event: OperationEvent) {
    // A reader that went away is noticed at the end, when the result is written.
    try? StandardOutput.write(event.line)
  }

  private func bar(_ percent: Int) -> String {
    let width = 16
    let filled = percent * width / 100
    let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
    let number = String(repeating: " ", count: percent < 10 ? 2 : percent < 100 ? 1 : 0) + "\(percent)"
    return "\(word) \(number) % [\(bar)]\(details)"
  }

  /// `, 1.7 of 4.0 GiB, 212 MiB/s, 0:11 left`, as far as it is known.
  private var details: String {
    var text = ""
    let (done, total) = progress.bytes
    if total > 0 { text += " \(sizeInWords(done)) of \(sizeInWords(total))" }
    if let rate = meter.rate { text += ", \(sizeInWords(UInt64(rate)))/s" }
    if let left = meter.secondsLeft { text += ", \(ProgressDisplay.clock(left)) left" }
    return text
  }

  /// `0:07`, `12:34`, `1:02:03`.
  private static func clock(_ seconds: Double) -> String {
    let whole = UInt64(min(max(seconds, 0).rounded(.up), 360_000))
    func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (hours, minutes) = (whole / 3600, whole / 60 % 60)
    return hours > 0
      ? "\(hours):\(two(minutes)):\(two(whole % 60))" : "\(minutes):\(two(whole % 60))"
  }

  private static var columns: Int {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 1 else { return 80 }
    return Int(size.ws_col)
  }
}
