/// What kind of chain a run of the simulation works on.
package enum ChainKind: String, CaseIterable, Sendable {
  case fixedVHDX, dynamicVHDX, childVHDX, child4KVHDX, grandchildVHDX
  case fixedVHD, dynamicVHD, childVHD, grandchildVHD

  package var isVHD: Bool {
    self == .fixedVHD || self == .dynamicVHD || self == .childVHD || self == .grandchildVHD
  }
  package var isFixed: Bool { self == .fixedVHDX || self == .fixedVHD }
  package var parentCount: Int {
    switch self {
    case .childVHDX, .child4KVHDX, .childVHD: 1
    case .grandchildVHDX, .grandchildVHD: 2
    default: 0
    }
  }
}
