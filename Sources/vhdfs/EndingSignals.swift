import Glibc
import LinuxSystem

/// The signals by which a user or a supervisor ends a program: held back, so that the program can come to a safe point.
struct EndingSignals {
  /// Readable when one has come.
  let descriptor: Int32

  /// Holds them back from now on, in this thread and in those that it begins. What the program was started with ignored
  /// (nohup, a shell's background) stays so.
  init() {
    let wanted = [SIGINT, SIGTERM, SIGHUP].filter { !EndingSignals.isIgnored($0) }
    var set = sigset_t()
    sigemptyset(&set)
    for signal in wanted { sigaddset(&set, signal) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
    descriptor = linux_signal_descriptor(wanted, Int32(wanted.count))
  }

  private static func isIgnored(_ signal: Int32) -> Bool {
    var action = sigaction()
    guard sigaction(signal, nil, &action) == 0 else { return false }
    return unsafeBitCast(action.__sigaction_handler.sa_handler, to: UInt.self)
      == unsafeBitCast(SIG_IGN, to: UInt.self)
  }

  /// The next that has come; nil when none has.
  func take() -> Int32? {
    let signal = linux_take_signal(descriptor)
    return signal == 0 ? nil : signal
  }

  /// Ends the program as if the signal had not been held back.
  func end(by number: Int32) {
    signal(number, SIG_DFL)
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, number)
    // Every thread blocks it but this one, which takes it here.
    kill(getpid(), number)
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }
}
