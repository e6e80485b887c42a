import Storage

@testable import VHDX

/// Changes inputs with knowledge of what they mean.
package struct Mutation {
  /// libFuzzer's own changes of some bytes; answers the new ones, at most as many as the number says.
  package typealias Generic = ([UInt8], Int) -> [UInt8]

  private var random: FuzzRandom
  private let generic: Generic

  package init(seed: UInt64, generic: @escaping Generic) {
    random = FuzzRandom(state: seed)
    self.generic = generic
  }

  /// A changed input for `target`, of at most `maximum` bytes.
  package mutating func changed(_ input: UnsafeRawBufferPointer, for target: FuzzTarget, maximum: Int)
    -> [UInt8]
  {
    switch target.form {
    case .text: return generic(Array(input), maximum)
    case .locator:
      var bytes = generic(Array(input), maximum)
      // With another type nothing else of it would be looked at.
      if bytes.count >= 16, random.oneIn(8) == false {
        bytes.replaceSubrange(0..<16, with: Array(bytesOf: VHDX.ParentLocator.vhdxType.bytes))
      }
      return bytes
    case .disk: return changed(input, parts: [.partitions], maximum)
    case .file(let parts): return changed(input, parts: parts, maximum)
    }
  }

  /// A file that is made of two.
  package mutating func crossed(
    _ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer, for target: FuzzTarget, maximum: Int
  ) -> [UInt8]? {
    let parts: Set<ImagePart>
    switch target.form {
    case .file(let all): parts = all
    case .disk: parts = [.partitions]
    case .text, .locator: return nil
    }
    var image = SparseImage(decoding: one)
    let source = SparseImage(decoding: other)
    if random.oneIn(2) { image.operations = source.operations }
    let numbers = source.pageNumbers
    for _ in 0...random.below(3) {
      guard let number = numbers.randomElement(using: &random) else { break }
      image.put(source.bytes(at: number * 4096, count: 4096), at: number * 4096)
    }
    image.repairChecksums(of: parts, deep: random.oneIn(2))
    let bytes = image.encoded()
    return bytes.count <= maximum ? bytes : nil
  }

  private mutating func changed(_ input: UnsafeRawBufferPointer, parts: Set<ImagePart>, _ maximum: Int)
    -> [UInt8]
  {
    if random.oneIn(64) { return generic(Array(input), maximum) }
    let original = SparseImage(decoding: input)
    for _ in 0..<4 {
      var image = original
      let known = parts.filter { !image.fields(of: $0).isEmpty }.sorted { $0.rawValue < $1.rawValue }
      for _ in 0...random.below(4) { change(&image, known) }
      if !random.oneIn(24) { image.repairChecksums(of: parts, deep: !random.oneIn(3)) }
      let bytes = image.encoded()
      if bytes.count <= maximum { return bytes }
    }
    return Array(input)
  }

  private mutating func change(_ image: inout SparseImage, _ parts: [ImagePart]) {
    switch random.below(16) {
    case 0: changeSize(&image)
    case 1, 2: changeBytes(&image)
    case 3, 4, 5: changeOperations(&image)
    case 6: copyStructure(&image)
    case 7: nameLog(&image)
    default:
      guard let part = parts.randomElement(using: &random) else { return changeBytes(&image) }
      changeField(&image, part)
    }
  }

  private mutating func changeField(_ image: inout SparseImage, _ part: ImagePart) {
    guard let field = image.fields(of: part).randomElement(using: &random) else { return }
    let old = image.number(field)
    var value: UInt64
    switch random.below(12) {
    case 0: value = 0
    case 1: value = .max
    case 2: value = 1 << random.below(64)
    case 3: value = old ^ 1 << random.below(UInt64(field.width * 8))
    case 4: value = old &+ random.below(9) &- 4
    case 5: value = old &+ [512, 4096, 1 << 20, 1 << 21, 16 << 20].randomElement(using: &random, else: 1)
    case 6: value = old &- [512, 4096, 1 << 20, 1 << 21, 16 << 20].randomElement(using: &random, else: 1)
    case 7: value = random.next() >> random.below(64)
    case 8: value = image.size &+ random.below(5) &* 512 &- 1024
    case 9: value = image.size / 512 &+ random.below(5) &- 2
    default:
      // What stands in another field of the kind: two that claim the same are what decoders forget.
      guard let other = image.fields(of: part).randomElement(using: &random) else { return }
      value = image.number(other)
    }
    if part == .vhdxTable, random.oneIn(2) {
      value = value & ~7 | [0, 1, 2, 3, 6, 7].randomElement(using: &random, else: 6)
    }
    if part == .vhdxTable, random.oneIn(2) { value &= ~0xF_FFF8 }
    image.set(field, to: value)
  }

  private mutating func changeSize(_ image: inout SparseImage) {
    switch random.below(6) {
    case 0: image.size = image.size &+ random.below(3) &- 1
    case 1: image.size = image.size &+ 512
    case 2: image.size = image.size &- min(image.size, 512)
    case 3: image.size = image.size &- min(image.size, 1 << 20)
    case 4: image.size = 1 << random.below(63)
    default:
      image.size = (image.pageNumbers.randomElement(using: &random) ?? 0) &* 4096 &+ random.below(2) &* 4096
    }
  }

  private mutating func changeBytes(_ image: inout SparseImage) {
    guard let page = image.pageNumbers.randomElement(using: &random) else { return }
    let offset = page * 4096 + random.below(64) * 64
    let old = image.bytes(at: offset, count: 64)
    image.put(Array((generic(old, 64) + old).prefix(64)), at: offset)
  }

  private mutating func copyStructure(_ image: inout SparseImage) {
    guard let from = image.pageNumbers.randomElement(using: &random),
      let to = image.pageNumbers.randomElement(using: &random)
    else { return }
    let length = [64, 512, 4096].randomElement(using: &random, else: 64)
    image.put(image.bytes(at: from * 4096, count: length), at: to * 4096)
  }

  /// Lets the header name the log, as after a crash.
  private mutating func nameLog(_ image: inout SparseImage) {
    guard image.isVHDX else { return changeBytes(&image) }
    let guid =
      image.logEntries.first.map { image.bytes(at: $0 + 32, count: 16) } ?? [UInt8](repeating: 7, count: 16)
    image.put(guid, at: image.currentHeaderPlace + 48)
  }

  private mutating func changeOperations(_ image: inout SparseImage) {
    let new = Operation(
      .allCases.randomElement(using: &random) ?? .write, seed: UInt8(truncatingIfNeeded: random.next()),
      length: UInt16(truncatingIfNeeded: random.next() >> random.below(64)),
      place: UInt32(truncatingIfNeeded: random.next() >> (32 + random.below(31))))
    let index = Int(random.below(UInt64(image.operations.count + 1)))
    switch random.below(4) {
    case 0 where index < image.operations.count: image.operations.remove(at: index)
    case 1 where index < image.operations.count: image.operations[index] = new
    default:
      image.operations.insert(new, at: index)
      if image.operations.count > Operation.most { image.operations.removeLast() }
    }
  }
}

/// The random numbers of a change, from the seed that libFuzzer gives.
struct FuzzRandom: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }

  mutating func below(_ limit: UInt64) -> UInt64 { next() % limit }
  mutating func oneIn(_ count: UInt64) -> Bool { below(count) == 0 }
}

extension Array {
  fileprivate func randomElement(using random: inout FuzzRandom, else other: Element) -> Element {
    randomElement(using: &random) ?? other
  }
}
