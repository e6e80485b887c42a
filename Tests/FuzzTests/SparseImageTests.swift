import Testing

@Suite struct SparseImageTests {
  @Test func survivesBeingEncoded() {
    for image in SeedImages.own + SeedDisks.all {
      let bytes = image.encoded()
      let again = bytes.withUnsafeBytes { SparseImage(decoding: $0) }
      #expect(again.size == image.size && again.operations == image.operations)
      for number in image.pageNumbers {
        #expect(again.bytes(at: number * 4096, count: 4096) == image.bytes(at: number * 4096, count: 4096))
      }
      #expect(bytes.count < 8192)
    }
  }

  @Test func anyBytesAreAnImage() {
    for bytes: [UInt8] in [[], [255], [0, 1, 2, 3], [UInt8](repeating: 255, count: 400)] {
      let image = bytes.withUnsafeBytes { SparseImage(decoding: $0) }
      #expect(image.heldBytes <= 16 << 20)
    }
  }

  @Test func zeroingAcrossPages() {
    var image = SparseImage()
    image.put([UInt8](repeating: 7, count: 3 * 4096), at: 100)
    image.zero(at: 4000, length: 1 << 40)
    #expect(image.bytes(at: 100, count: 3900).allSatisfy { $0 == 7 })
    #expect(image.bytes(at: 4000, count: 9000).allSatisfy { $0 == 0 })
  }
}
