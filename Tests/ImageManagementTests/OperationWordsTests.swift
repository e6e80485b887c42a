import Storage
import Testing

@testable import ImageManagement

@Suite struct OperationWordsTests {
  @Test func wordsAndPairs() throws {
    var words = try OperationWords(line: "  quick dry-run\tmax=7 async ")
    let t14 = words.take(flag: "async")
    #expect(t14)
    let t15 = words.take(flag: "async")
    #expect(!t15)
    let t1 = try words.take(key: "max")
    #expect(t1 == "7")
    let t2 = try words.take(key: "max")
    #expect(t2 == nil)
    let t3 = words.takeFirst()
    #expect(t3 == "quick")
    let t4 = words.takeFirst()
    #expect(t4 == "dry-run")
    let t5 = words.takeFirst()
    #expect(t5 == nil)
    try words.failIfLeft("compact", known: "a mode")
    #expect(words.isEmpty)
  }

  @Test func quotedWordsHoldAnything() throws {
    var words = try OperationWords(line: #""base disk.vhdx" a\040b\134.vhd into="x y" "key=value" ./k=v """#)
    let t6 = try words.take(key: "into")
    #expect(t6 == "x y")
    let t7 = words.takeFirst()
    #expect(t7 == "base disk.vhdx")
    let t8 = words.takeFirst()
    #expect(t8 == #"a b\.vhd"#)
    let t9 = words.takeFirst()
    #expect(t9 == "key=value")
    let t10 = words.takeFirst()
    #expect(t10 == "./k=v")
    let t11 = words.takeFirst()
    #expect(t11 == "")
    #expect(words.isEmpty)
  }

  @Test(arguments: [
    "\"open", #"a\"#, #"a\12"#, #"a\400"#, #"a\128"#, #"\377"#, #"a\000b"#,
  ]) func whatCannotBeReadIsRefused(_ line: String) throws {
    let error = #expect(throws: ImageError.self) { try OperationWords(line: line) }
    #expect(error?.returnValue == .invalidParameter)
  }

  @Test func aKeyTwiceIsRefused() throws {
    var words = try OperationWords(line: "a=1 a=2")
    #expect(throws: ImageError.self) { try words.take(key: "a") }
  }

  @Test func whatIsLeftIsNamed() throws {
    let words = try OperationWords(line: "bogus")
    let error = #expect(throws: ImageError.self) { try words.failIfLeft("compact", known: "full or quick") }
    #expect(error?.description == #"compact: "bogus" is not understood; it takes full or quick"#)
  }

  @Test(arguments: [
    "plain", "a b", #"q"uo\te"#, "k=v", "", "new\nline", "späte Größe", "\"\u{301}", "\u{9B}31m\u{202E}",
  ])
  func aLineSaysTheSame(_ text: String) throws {
    var words = OperationWords()
    words.add(text)
    words.add("key", text)
    #expect(escapedSentence(words.line) == words.line)
    var again = try OperationWords(line: words.line)
    let t12 = try again.take(key: "key")
    #expect(t12 == text)
    let t13 = again.takeFirst()
    #expect(t13 == text)
    #expect(again.isEmpty)
  }
}
