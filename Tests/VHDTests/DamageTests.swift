import Storage
import TestSupport
import Testing

@testable import VHD

/// Files with bytes changed at random, checksums mended, never bring the program down, and keep errors errors.
@Suite struct DamageTests {
  /// Numbers at which checks turn.
  static let edges: [UInt64] = [
    0, 1, 2, 3, 4, 5, 511, 512, 513, 1024, 1536, 4096, 8192, 1 << 20, (1 << 31) - 1, 1 << 31,
    UInt64(UInt32.max) - 1,
    UInt64(UInt32.max), 1 << 32, 1 << 40, 1 << 63, .max - 511, .max,
  ]

  /// A small image with a few blocks; a child with locators.
  static func original(isChild: Bool) throws -> SparseBytes {
    let double = RecordingFile()
    var options = VHDCreation(kind: .dynamic, virtualSize: 6 << 20, blockSize: 512 << 10)
    if isChild {
      options.kind = .differencing(
        parent: VHDParent(uniqueID: .random(), timeStamp: 1, relativePath: "p.vhd", absolutePath: "/x/p.vhd"))
    }
    try VHDImage.create(double.file, options)
    let image = try VHDImage(double.file)
    try image.beginWriting()
    for block in [1, 4, 5, 9] as [UInt64] {
      try SmallDisk([image]).write([UInt8](repeating: 3, count: 9000), at: block << 19)
    }
    try image.finishWriting()
    return double.contents.withLock { $0.now }
  }

  @Test(arguments: [false, true]) func anyDamage(isChild: Bool) throws {
    let original = try DamageTests.original(isChild: isChild)
    var generator = SeededGenerator(seed: isChild ? 21 : 22)
    var opened = 0
    for _ in 0..<3000 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...3, using: &generator) { damage(&bytes, &generator) }
      let double = RecordingFile(bytes)
      do throws(ImageError) {
        let image = try VHDImage(double.file)
        opened += 1
        try use(image, &generator)
      } catch {
        #expect(error.sentence.contains("recorded.vhd"), "\(error)")
        #expect(error.sentence.count > 20)
      }
    }
    // Many damages are harmless, or show only where they are.
    #expect(opened > 300)
  }

  /// One field or byte of footer, copy, header, locators or table, or the file's length.
  func damage(_ bytes: inout SparseBytes, _ generator: inout SeededGenerator) {
    func store(_ value: UInt64, _ width: Int, at offset: UInt64) {
      var value = value.bigEndian
      withUnsafeBytes(of: &value) {
        bytes.write(UnsafeRawBufferPointer(rebasing: $0[(8 - width)...]), at: offset)
      }
    }
    func edge() -> UInt64 {
      let value = DamageTests.edges.randomElement(using: &generator) ?? 0
      return Bool.random(using: &generator)
        ? value : generator.next() >> UInt64.random(in: 0..<64, using: &generator)
    }
    let footer = bytes.size >= 512 ? bytes.size - 512 : 0
    switch Int.random(in: 0..<10, using: &generator) {
    case 0...3:
      let field: (UInt64, Int) =
        [(8, 4), (12, 4), (16, 8), (28, 4), (48, 8), (56, 4), (60, 4), (84, 1)].randomElement(
          using: &generator)
        ?? (48, 8)
      let value = edge()
      // Mostly in both, as one who means it would.
      for place in [footer, 0] where place == footer || Int.random(in: 0..<4, using: &generator) > 0 {
        store(value, field.1, at: place + field.0)
        mend(&bytes, at: place, length: 512, field: 64)
      }
    case 4...6:
      let field: (UInt64, Int) =
        [
          (16, 8), (24, 4), (28, 4), (32, 4), (40, 8), (576, 4), (580, 4), (584, 4), (592, 8), (608, 4),
          (616, 8),
        ]
        .randomElement(using: &generator) ?? (16, 8)
      store(
        field.0 == 32 ? 1 << UInt64.random(in: 0..<32, using: &generator) : edge(), field.1, at: 512 + field.0
      )
      mend(&bytes, at: 512, length: 1024, field: 36)
    case 7, 8:
      let entry = Bool.random(using: &generator) ? edge() : UInt64.random(in: 0..<6000, using: &generator)
      store(entry, 4, at: 8192 + 4 * UInt64.random(in: 0..<12, using: &generator))
    default:
      bytes.resize(to: UInt64.random(in: 0...(bytes.size + 5000), using: &generator))
    }
  }

  func mend(_ bytes: inout SparseBytes, at offset: UInt64, length: Int, field: Int) {
    let buffer = ByteBuffer(count: length)
    _ = bytes.read(into: buffer.bytes, at: offset)
    Checksum.store(in: buffer.bytes, field: field)
    bytes.write(buffer.readable, at: offset)
  }

  /// Looks at the image here and there, and writes to it if it lets us; errors of single places are passed over.
  func use(_ image: VHDImage, _ generator: inout SeededGenerator) throws(ImageError) {
    var places = [0, image.virtualSize - 1, image.virtualSize / 2]
    for block in 0..<12 as Range<UInt64> where block << 19 < image.virtualSize { places.append(block << 19) }
    let fileSize = try image.file.size()
    var firstError: ImageError?
    for place in places {
      do throws(ImageError) {
        let run = try image.locate(place, limit: 1 << 20, mayWait: true)
        #expect(run.length >= 1 && run.length <= 1 << 20 && run.length <= image.virtualSize - place)
        if run.kind == .data { #expect(run.fileOffset + run.length <= fileSize) }
      } catch {
        firstError = error
      }
    }
    try image.beginWriting()
    // An image with damaged places is never written.
    #expect(firstError == nil, "writing began, but \(String(describing: firstError))")
    for place in places {
      var run = try image.prepareWrite(at: place / 512 * 512, limit: 512, mayAllocate: true, mayWait: true)
      #expect(run.kind == .ready || run.kind == .tracked)
      let sector = ByteBuffer(count: Int(run.length))
      try image.file.write(sector.readable, at: run.fileOffset)
      if run.kind == .tracked { try image.completeWrite(run) }
      run = try image.zero(at: place / 512 * 512, limit: 1 << 19)
      #expect(run.kind == .done || run.kind == .unallocated)
    }
    try image.finishWriting()
    _ = try VHDImage(image.file)
  }
}
