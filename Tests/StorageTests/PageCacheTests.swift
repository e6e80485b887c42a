import TestSupport
import Testing

@testable import Storage

@Suite("Page cache")
struct PageCacheTests {
  @Test("It holds what was put in, evicts only clean pages, and forgets none that is dirty or held")
  func againstModel() {
    var cache = PageCache(pageSize: 16, capacity: 32)
    var model: [UInt64: UInt64] = [:]
    var dirty: Set<UInt64> = []
    var held: Set<UInt64> = []
    var generator = SeededGenerator(seed: 4)
    for step in 0..<50_000 {
      // Keys are far apart and in runs, as pages of tables are.
      let key = UInt64.random(in: 0..<90, using: &generator) * 4096 + 512
      switch Int.random(in: 0..<10, using: &generator) {
      case 0..<6:
        if let page = cache.find(key) {
          #expect(page.load(as: UInt64.self) == model[key], "step \(step)")
        } else {
          #expect(!dirty.contains(key) && !held.contains(key), "step \(step)")
          if let page = cache.insert(key) {
            page.storeBytes(of: UInt64(step), as: UInt64.self)
            model[key] = UInt64(step)
          } else {
            #expect(dirty.union(held).count == 32)
          }
        }
      case 6, 7:
        if let page = cache.find(key), dirty.count < 20 {
          page.storeBytes(of: UInt64(step), as: UInt64.self)
          model[key] = UInt64(step)
          cache.markDirty(key)
          dirty.insert(key)
        }
      case 8:
        #expect(cache.dirtyKeys() == dirty.sorted())
        if let taken = dirty.randomElement(using: &generator) {
          cache.hold(taken)
          dirty.remove(taken)
          held.insert(taken)
        }
      default:
        if let given = held.randomElement(using: &generator) {
          let isLost = Bool.random(using: &generator)
          cache.release(given, changesLost: isLost)
          held.remove(given)
          if isLost { dirty.insert(given) }
        }
      }
      #expect(cache.dirtyCount == dirty.count)
      #expect(cache.isDirty(key) == dirty.contains(key))
    }
    for key in dirty.union(held) { #expect(cache.find(key)?.load(as: UInt64.self) == model[key]) }
    cache.removeAll()
    #expect(cache.count == 0 && cache.dirtyCount == 0 && cache.find(512) == nil)
  }

  @Test("When everything is dirty there is no room")
  func full() {
    var cache = PageCache(pageSize: 8, capacity: 4)
    for key in UInt64(0)..<4 {
      #expect(cache.insert(key) != nil)
      cache.markDirty(key)
    }
    #expect(cache.insert(9) == nil)
    cache.hold(2)
    #expect(cache.insert(9) == nil)
    cache.release(2)
    #expect(cache.insert(9) != nil)
    #expect(cache.find(2) == nil)
  }
}
