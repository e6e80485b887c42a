import TestSupport

extension CrashHistory {
  /// Small histories that reach every ordered step of each format's ways to change a file.
  package static func purposeful(_ kind: ChainKind) -> [CrashHistory] {
    let block = blockSize(kind)
    let size = usualSize(kind)
    var all = [
      CrashHistory(
        "first-writes", kind,
        [
          .write(4096, 8192), .flush, .write(2 * block - 1536, 3072), .flush, .write(300, 100),
          .write(block + 5000, 700), .finish,
        ]),
      CrashHistory(
        "many-commits", kind,
        [
          .write(0, 4096), .flush, .write(8192, 4096), .flush, .write(0, 512), .write(block, 512), .flush,
          .write(4096, 4096), .write(2 * block, 512), .flush, .write(0, 8192), .finish,
        ]),
      CrashHistory(
        "zero-and-reuse", kind, prelude: [.write(0, block), .write(block, 16384)],
        [
          .zero(0, block), .write(2 * block, 512), .flush, .write(3 * block + 512, 512), .flush,
          .zero(block, block), .write(0, 1024), .finish,
        ]),
      CrashHistory(
        "zero-in-pieces", kind, prelude: [.write(block, 16384), .write(0, 4096)],
        [
          .zero(block, 8192), .zero(block + 8192, 8192), .flush, .write(2 * block + 4096, 4096), .flush,
          .zero(100, 5000), .flush, .write(0, 1536), .finish,
        ]),
      CrashHistory(
        "close-and-reopen", kind,
        [
          .write(0, 1024), .finish, .write(block, 512), .finish, .reopen, .write(4096, 512), .flush, .reopen,
          .write(2 * block, 1000), .zero(0, block), .finish, .zero(2 * block, block), .finish, .reopen,
          .write(3 * block, 512), .flush,
        ]),
      CrashHistory(
        "fill-a-block", kind,
        [
          .write(0, block / 2), .flush, .write(block / 2, block / 2), .flush, .write(block - 512, 1024),
          .zeros(0, 4096), .flush, .zero(0, block), .flush, .write(block / 2, 512), .finish,
        ]),
      CrashHistory(
        "last-block", kind,
        [
          .write(size - 512, 512), .flush, .zero(3 * block, size - 3 * block), .write(size - 1024, 512),
          .flush,
          .write(3 * block, 1000), .finish,
        ]),
    ]
    all.append(
      CrashHistory(
        "write-during-close", kind,
        [.write(0, 512), .finishWhileWriting(block, 1024), .write(4096, 512), .finishWhileWriting(700, 50)]))
    if !kind.isFixed {
      all.append(
        CrashHistory(
          "garbage-behind", kind, prelude: [.write(0, 4096)], start: .garbageBehind,
          [.write(block + 512, 512), .flush, .write(2 * block + 700, 50), .write(3 * block, 512), .finish]))
    }
    if kind.isVHD, !kind.isFixed {
      for start in [CrashStart.footerLost, .copyBroken, .footerShort] {
        all.append(
          CrashHistory(
            start.rawValue, kind, prelude: [.write(0, 4096)], start: start,
            [.write(block, 512), .flush, .write(0, 512), .finish]))
      }
    }
    if !kind.isVHD {
      for start in [CrashStart.firstRegionTableDamaged, .secondRegionTableDamaged] {
        all.append(
          CrashHistory(
            start.rawValue, kind, prelude: [.write(0, 4096)], start: start,
            [.write(block, 512), .flush, .write(0, 512), .finish, .write(4096, 512), .finish]))
      }
    }
    if kind == .dynamicVHDX || kind == .childVHDX {
      all.append(
        CrashHistory(
          "soft-anchor", kind, prelude: [.write(0, block), .write(block, 512)], start: .softAnchor,
          [.write(4096, 512), .flush, .write(2 * block + 512, 512), .flush, .write(0, 512), .finish]))
    }
    if kind == .childVHDX {
      // More changed pages than one entry of the log holds (126): 125 pages of bitmaps, and of the table those that
      // say that the blocks are partly present behind the one with the bitmap block's entry.
      all.append(
        CrashHistory(
          "many-pages", kind, size: 2 << 30,
          (0..<125).map { .write($0 << 24 + 4096, 512) } + [.flush, .write(4096, 1024), .finish]))
      // The same where bits must be cleared before the table makes them count.
      all.append(
        CrashHistory(
          "many-cleared-pages", kind, size: 2 << 30, prelude: [.write(1 << 20, 512)], start: .garbageBits,
          (0..<127).map { .write($0 << 24 + 4096, 512) } + [.flush, .finish]))
    }
    if kind == .childVHDX || kind == .grandchildVHDX {
      all.append(
        CrashHistory(
          "garbage-bits", kind, prelude: [.write(block, 512)], start: .garbageBits,
          [.write(4096, 512), .flush, .write(2 * block + 1024, 512), .write(100, 10), .finish]))
      // The pages of the write in the middle are the last that the log holds when the close gives it up. Were they not
      // durable by then, the table could speak of the block and the bits be those that lay there.
      all.append(
        CrashHistory(
          "garbage-bits-during-close", kind, prelude: [.write(block, 512)], start: .garbageBits,
          [.write(4096, 512), .finishWhileWriting(2 * block + 1024, 512), .finish]))
    }
    if !(kind.isVHD && kind.isFixed) { all += compactions(kind) }
    return all
  }

  /// Each way in which blocks give up their room, or move.
  private static func compactions(_ kind: ChainKind) -> [CrashHistory] {
    let block = blockSize(kind)
    let size = 13 * block / 2
    let filled: [CrashStep] = (0..<6).map { .write($0 * block + 4096, 16384) } + [.write(size - 4096, 4096)]
    var all = [
      CrashHistory(
        "compact-moves", kind, size: size,
        prelude: filled + [.zeros(4096, 16384), .zeros(2 * block + 4096, 16384)],
        [
          .compact(Compacting(4, batch: 1)), .write(block + 4096, 512), .flush, .write(2 * block, 512),
          .compact(Compacting(4, batch: 8 * block)), .write(0, 1024), .finish,
        ]),
      CrashHistory(
        "compact-many-moves", kind, size: size, prelude: filled + [.zero(0, block), .zero(2 * block, block)],
        [.compact(Compacting(3, batch: 8 * block)), .reopen, .write(3 * block, 512), .finish]),
      CrashHistory(
        "compact-free", kind, size: size, prelude: filled,
        [
          .compact(Compacting(1, free: [0..<block, (3 * block)..<(4 * block)], batch: 1)), .write(100, 1000),
          .flush,
          .compact(Compacting(0, free: [(block + 8192)..<(2 * block + 10_240)], batch: 4 * block)), .reopen,
          .write(size - 512, 512), .finish,
        ]),
      CrashHistory(
        "compact-retrim", kind, size: size, prelude: filled,
        [
          .compact(Compacting(2, free: [4096..<8192, block..<(2 * block), (size - 2048)..<size])),
          .write(block, 512),
          .flush, .compact(Compacting(0, free: [0..<size])), .write(0, 512), .finish,
        ]),
      CrashHistory(
        "compact-and-fail-to-close", kind, size: size, prelude: filled,
        [
          .zero(0, block), .compact(Compacting(3, batch: 1)), .reopen, .compact(Compacting(4)), .reopen,
          .write(0, 512), .flush,
        ]),
    ]
    if kind == .childVHDX || kind == .child4KVHDX {
      // Whole blocks that need no bitmap come first, so that the bitmap lies among the last.
      all.append(
        CrashHistory(
          "compact-bitmap", kind, size: size,
          prelude: [
            .zero(0, 3 * block), .write(0, 4096), .write(block, 4096), .write(2 * block, 8192),
            .write(3 * block, 4096),
            .write(4 * block, 4096), .zero(0, 2 * block),
          ],
          [
            .compact(Compacting(3, batch: 1)), .write(5 * block + 4096, 4096), .flush,
            .zero(3 * block, 3 * block),
            .compact(Compacting(3, batch: 1)), .write(3 * block + 4096, 4096), .write(0, 4096), .finish,
          ]))
    }
    return all
  }

  /// Random steps, near a few places so that they meet; the same for the same seed.
  package static func random(_ kind: ChainKind, seed: UInt64) -> CrashHistory {
    var generator = SeededGenerator(
      seed: seed &* 31 &+ UInt64(kind.rawValue.utf8.reduce(0) { $0 &* 7 &+ UInt64($1) }))
    let block = blockSize(kind)
    let size = usualSize(kind)
    func place() -> Int {
      let start = Int.random(in: 0..<4, using: &generator) * block
      return min(size - 20_000, start + Int.random(in: 0..<24, using: &generator) * 2048)
    }
    func step() -> CrashStep {
      switch Int.random(in: 0..<24, using: &generator) {
      case 0..<7: return .write(place(), Int.random(in: 1...8, using: &generator) * 512)
      case 7..<9: return .write(place() + 37, Int.random(in: 1...3000, using: &generator))
      case 9: return .write(place() / block * block, block / 2)
      case 10: return .zeros(place(), Int.random(in: 1...8, using: &generator) * 512)
      case 11..<13: return .zero(place(), Int.random(in: 1...16_000, using: &generator))
      case 13..<16:
        let start = place() / block * block
        return .zero(start, min(block, size - start))
      case 16..<20: return .flush
      case 20 where !(kind.isVHD && kind.isFixed):
        let free = place() / 4096 * 4096
        return .compact(
          Compacting(
            Int.random(in: 0...4, using: &generator), free: [free..<min(size, free + 2 * block)],
            batch: Bool.random(using: &generator) ? 1 : 4 * block))
      default: return .finish
      }
    }
    var steps = (0..<Int.random(in: 6...20, using: &generator)).map { _ in step() }
    for index in steps.indices.reversed() where steps[index].isDurable && Bool.random(using: &generator) {
      if Int.random(in: 0..<4, using: &generator) == 0 { steps.insert(.reopen, at: index + 1) }
    }
    let starts: [CrashStart] = kind.isFixed ? [.asClosed] : [.asClosed, .asClosed, .garbageBehind]
    return CrashHistory(
      "random", kind, prelude: (0..<Int.random(in: 0...5, using: &generator)).map { _ in step() },
      start: starts.randomElement(using: &generator) ?? .asClosed, seed: seed, steps + [.finish])
  }
}
