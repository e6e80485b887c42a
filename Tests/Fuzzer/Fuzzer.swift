import FuzzTargets
import Glibc
import LibFuzzer
import Storage

/// libFuzzer over the targets of `FuzzTargets`. VHDFS_FUZZ_TARGET names the one that is run: libFuzzer starts this program
/// anew with arguments of its own.
///
///     Fuzzer --list                                names and subjects
///     Fuzzer --prepare TARGET FOLDER [IMAGE …]     inputs to begin with, and the dictionary in FOLDER.dict
@main struct Fuzzer {
  static let target: FuzzTarget? = getenv("VHDFS_FUZZ_TARGET").flatMap {
    FuzzTarget.named(String(cString: $0))
  }

  static func main() {
    let arguments = CommandLine.arguments
    if arguments.count > 1, arguments[1] == "--list" {
      for target in FuzzTarget.all { print("\(target.name)\t\(target.subject)\t\(target.maximumLength)") }
      return
    }
    if arguments.count > 3, arguments[1] == "--prepare", let target = FuzzTarget.named(arguments[2]) {
      prepare(target, folder: arguments[3], images: Array(arguments.dropFirst(4)))
      return
    }
    guard target != nil else { stop("VHDFS_FUZZ_TARGET names no target; --list lists them") }
    var count = CommandLine.argc
    var words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(LLVMFuzzerRunDriver(&count, &words) { Fuzzer.run($0, $1) })
  }

  private static func run(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    do {
      try target?.run(UnsafeRawBufferPointer(start: data, count: size))
    } catch {
      // libFuzzer takes the abort for a crash, and keeps the input.
      say("PROMISE BROKEN: \(error)")
      abort()
    }
    return 0
  }

  private static func prepare(_ target: FuzzTarget, folder: String, images: [String]) {
    var all = SeedImages.own
    for path in images {
      do throws(ImageError) {
        all.append(try SeedImages.read(try HostFile.open(path, writable: false)))
      } catch {
        say("\(error)")
      }
    }
    for (number, input) in target.inputs(from: all).enumerated() {
      do throws(ImageError) {
        let file = try HostFile.create("\(folder)/seed-\(number)")
        try file.write(input, at: 0)
      } catch {
        // It is there from an earlier run.
      }
    }
    let lines = target.words.map { word in
      "\""
        + word.utf8.map { byte in
          let digits = String(byte, radix: 16)
          return "\\x" + (digits.count < 2 ? "0" : "") + digits
        }.joined() + "\"\n"
    }
    let dictionary = "\(folder).dict"
    unlink(dictionary)
    do throws(ImageError) {
      try HostFile.create(dictionary).write(Array(lines.joined().utf8), at: 0)
    } catch {
      stop("\(error)")
    }
  }

  private static func say(_ sentence: String) {
    var line = Array((sentence + "\n").utf8)
    _ = Glibc.write(STDERR_FILENO, &line, line.count)
  }

  private static func stop(_ sentence: String) -> Never {
    say(sentence)
    exit(2)
  }
}

@_cdecl("LLVMFuzzerCustomMutator")
public func changeInput(
  _ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ maximum: Int, _ seed: CUnsignedInt
) -> Int {
  guard let target = Fuzzer.target else { return LLVMFuzzerMutate(data, size, maximum) }
  var mutation = Mutation(seed: UInt64(seed), generic: changeBytes)
  let new = mutation.changed(UnsafeRawBufferPointer(start: data, count: size), for: target, maximum: maximum)
  return store(new, in: data, maximum)
}

@_cdecl("LLVMFuzzerCustomCrossOver")
public func crossInputs(
  _ one: UnsafePointer<UInt8>, _ oneSize: Int, _ other: UnsafePointer<UInt8>, _ otherSize: Int,
  _ data: UnsafeMutablePointer<UInt8>, _ maximum: Int, _ seed: CUnsignedInt
) -> Int {
  guard let target = Fuzzer.target else { return 0 }
  var mutation = Mutation(seed: UInt64(seed), generic: changeBytes)
  let new = mutation.crossed(
    UnsafeRawBufferPointer(start: one, count: oneSize),
    UnsafeRawBufferPointer(start: other, count: otherSize),
    for: target, maximum: maximum)
  return store(new ?? Array(UnsafeBufferPointer(start: one, count: oneSize)), in: data, maximum)
}

private func store(_ new: [UInt8], in data: UnsafeMutablePointer<UInt8>, _ maximum: Int) -> Int {
  let count = min(new.count, maximum)
  UnsafeMutableRawBufferPointer(start: data, count: count).copyBytes(from: new.prefix(count))
  return count
}

private func changeBytes(_ old: [UInt8], _ maximum: Int) -> [UInt8] {
  let room = max(maximum, old.count, 1)
  var bytes = old + [UInt8](repeating: 0, count: room - old.count)
  let count = LLVMFuzzerMutate(&bytes, old.count, room)
  return Array(bytes.prefix(min(count, maximum)))
}
