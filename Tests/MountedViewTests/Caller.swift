import Glibc
import TestSupport

/// A program at a terminal that writes to an operation file, and what happens to it meanwhile.
struct Caller {
  /// What is done to it 0.4 s after it has begun to write.
  enum Action: String, CaseIterable {
    /// Ctrl-C, Ctrl-\, Ctrl-Z (and SIGCONT 0.4 s later), as typed.
    case interrupt, quit, suspend
    /// The terminal gets another size; then Ctrl-C 0.4 s later.
    case resize, resizeThenInterrupt
    /// Signals that are sent to the program.
    case terminate, hangup, kill, child
    /// SIGSTOP, and SIGCONT 0.4 s later.
    case stop
  }

  struct Outcome {
    /// Seconds from the (last) action to the next answer of the shell, or to the end of the program.
    var elapsed: Double
    /// The shell's `$?`, the errno that Python saw, the exit status, or 128 and the signal.
    var status: Int
  }

  /// - Parameter program: `bash`, `dash`, `python3`, `tee`; `python3-blocked` blocks TERM and ignores HUP.
  static func run(_ program: String, writes line: String, to file: String, _ action: Action) throws -> Outcome
  {
    let result = try TestSupport.run(
      ["python3", "-c", driver, program, line, file, action.rawValue], timeout: 60)
    let words = result.output.split(whereSeparator: \.isWhitespace)
    guard result.succeeded, words.count == 2, let elapsed = Double(words[0]), let status = Int(words[1])
    else {
      throw TestFailure(result.summary)
    }
    return Outcome(elapsed: elapsed, status: status)
  }

  private static let driver = #"""
    import fcntl, os, pty, re, select, signal, struct, sys, termios, time

    program, line, file, action = sys.argv[1:]

    python = """
    import os, signal, sys
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    if sys.argv[3] == "blocked":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    file = os.open(sys.argv[1], os.O_WRONLY)
    print("begin", flush=True)
    try:
        os.write(file, sys.argv[2].encode())
        print("done 0", flush=True)
    except OSError as error:
        print("done", error.errno, flush=True)
    """

    pid, terminal = pty.fork()
    if pid == 0:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        words = {
            "bash": ["bash", "--norc", "--noprofile", "-i"],
            "dash": ["dash", "-i"],
            "tee": ["tee", file],
            "python3": ["python3", "-c", python, file, line, ""],
            "python3-blocked": ["python3", "-c", python, file, line, "blocked"],
        }[program]
        os.execvp(words[0], words)

    isShell = program in ("bash", "dash")
    said = b""
    ended = None

    def listen(seconds, wanted=None):
        """Collects what is said, until it holds what is wanted, or the program has ended."""
        global said, ended
        end = time.monotonic() + seconds
        while time.monotonic() < end and ended is None:
            if wanted and re.search(wanted, said):
                return re.search(wanted, said)
            ready, _, _ = select.select([terminal], [], [], 0.01)
            if ready:
                try:
                    said += os.read(terminal, 4096)
                except OSError:
                    pass
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                ended = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                try:
                    while select.select([terminal], [], [], 0)[0]:
                        said += os.read(terminal, 4096)
                except OSError:
                    pass
        return wanted and re.search(wanted, said)

    if isShell:
        listen(0.5)
        prefix = "sleep 0.4 & " if action == "child" and program == "bash" else ""
        os.write(terminal, f"{prefix}echo {line} > {file}\n".encode())
    elif program == "tee":
        listen(0.3)
        os.write(terminal, (line + "\n").encode())
    else:
        listen(10, rb"begin")
    listen(0.4)

    def size():
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 101, 0, 0))

    if action == "interrupt": os.write(terminal, b"\x03")
    elif action == "quit": os.write(terminal, b"\x1c")
    elif action == "suspend":
        os.write(terminal, b"\x1a")
        listen(0.4)
        if not isShell: os.kill(pid, signal.SIGCONT)
    elif action == "resize": size()
    elif action == "resizeThenInterrupt":
        size()
        listen(0.4)
        os.write(terminal, b"\x03")
    elif action == "stop":
        os.kill(pid, signal.SIGSTOP)
        listen(0.4)
        os.kill(pid, signal.SIGCONT)
    elif action == "child":
        if program != "bash": os.kill(pid, signal.SIGCHLD)
    else:
        os.kill(pid, {"terminate": signal.SIGTERM, "hangup": signal.SIGHUP, "kill": signal.SIGKILL}[action])
    began = time.monotonic()

    if isShell:
        # What is typed while an interrupt is on its way is thrown away by the terminal.
        listen(0.05)
        if ended is None:
            os.write(terminal, b"echo do''ne $?\n")
    elif program == "tee" and action in ("resize", "stop", "suspend", "child"):
        # The end of its input.
        os.write(terminal, b"\x04")
    found = listen(30, rb"done (\d+)" if program != "tee" else None)
    elapsed = time.monotonic() - began
    if ended is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(f"{elapsed:.3f}", int(found.group(1)) if found else ended)
    """#
}
