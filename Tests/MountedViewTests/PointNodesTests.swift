import Storage
import Testing
import VirtualDisk

@testable import ChangeTracking
@testable import MountedView

@Suite struct PointNodesTests {
  private func point(_ name: String, _ id: String) -> ReferencePoint {
    ReferencePoint(name: name, id: id, created: 0, diskSize: 1, firstInterval: 1)
  }

  @Test func numbersTellWhatTheyStandFor() {
    var seen: Set<NodeNumber> = []
    for counter in [1, 2, 1 << 40] as [UInt64] {
      for place in PointPlace.allCases {
        let number = NodeNumber(point: counter, place)
        #expect(number.isPoint && !number.isQuery)
        #expect(number.pointCounter == counter)
        #expect(number.pointPlace == place)
        #expect(number.serial == 0 && number.place == nil)
        #expect(seen.insert(number).inserted)
      }
    }
    #expect(!NodeNumber(query: 1).isPoint)
    #expect(!NodeNumber(image: 1 << 30, .points).isPoint)
  }

  @Test func aNumberStaysAsLongAsThePoint() throws {
    var nodes = PointNodes()
    nodes.update(image: 1, [point("a", "1"), point("b", "2")], asOf: nil)
    let first = try #require(nodes.counter(image: 1, named: "b"))
    nodes.update(image: 1, [point("b", "2"), point("c", "3")], asOf: nil)
    #expect(nodes.counter(image: 1, named: "b") == first)
    #expect(nodes.counter(image: 1, named: "a") == nil)
    #expect(nodes.points(image: 1).map(\.point.name) == ["b", "c"])
    #expect(nodes.count == 2)
    // The same name, another point; and the same id of another image.
    nodes.update(image: 1, [point("b", "4")], asOf: nil)
    nodes.update(image: 2, [point("b", "2")], asOf: nil)
    let second = try #require(nodes.counter(image: 1, named: "b"))
    let other = try #require(nodes.counter(image: 2, named: "b"))
    #expect(Set([first, second, other]).count == 3)
    #expect(nodes.entry(other)?.serial == 2)
  }

  @Test func whatTheKernelKnowsIsRemembered() throws {
    var nodes = PointNodes()
    nodes.update(image: 7, [point("a", "1")], asOf: nil)
    let counter = try #require(nodes.counter(image: 7, named: "a"))
    #expect(nodes.countLookup(counter) == 7)
    #expect(nodes.countLookup(counter) == 7)
    nodes.drop(image: 7)
    #expect(nodes.entry(counter)?.point.id == "1")
    #expect(nodes.forget(counter, 1) == 7)
    #expect(nodes.count == 1)
    #expect(nodes.forget(counter, 5) == 7)
    #expect(nodes.count == 0)
    #expect(nodes.forget(counter, 1) == nil)
  }
}
