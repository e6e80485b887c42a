// swift-tools-version: 6.2
import PackageDescription

/// The Makefile sets VHDFS_STRICT, which makes an error of each warning in these targets (and in no dependency). A
/// plain `swift build` does not, so that a newer compiler's new warnings break nobody's build.
let strict: [SwiftSetting] =
  Context.environment["VHDFS_STRICT"] == nil ? [] : [.treatAllWarnings(as: .error)]
let basics: [SwiftSetting] = [.swiftLanguageMode(.v6), .enableUpcomingFeature("ExistentialAny")] + strict

/// `make fuzz` sets VHDFS_FUZZ: libFuzzer is told which branches of the rooms an input reaches.
let isFuzzing = Context.environment["VHDFS_FUZZ"] != nil
let coverage: [SwiftSetting] = [
  .unsafeFlags([
    "-enable-testing", "-sanitize-coverage=edge,indirect-calls,trace-cmp,inline-8bit-counters,pc-table",
  ])
]
let settings = basics + (isFuzzing ? coverage : [])

/// Models and simulations move many bytes; without optimisation they take most of the tests' time. What they test is
/// built as in any debug build.
let simulation: [SwiftSetting] = settings + [.unsafeFlags(["-O"], .when(configuration: .debug))]

/// For fuzzing the bodies of the fuzz targets, which are a part of FuzzTests otherwise, become a library of their own, and
/// with libFuzzer's driver a program.
let fuzzed: [Target.Dependency] = [
  "Storage", "VHD", "VHDX", "ChangeTracking", "VirtualDisk", "GuestLayout", "ImageManagement", "MountedView",
]
let fuzzing: [Target] =
  isFuzzing
  ? [
    .systemLibrary(name: "LibFuzzer", path: "Tests/LibFuzzer"),
    .target(
      name: "FuzzTargets", dependencies: fuzzed, path: "Tests/FuzzTests/Targets", swiftSettings: basics),
    .executableTarget(
      name: "Fuzzer", dependencies: ["FuzzTargets", "LibFuzzer"], path: "Tests/Fuzzer", swiftSettings: basics,
      linkerSettings: [.linkedLibrary("stdc++")]),
  ]
  : [
    .testTarget(
      name: "FuzzTests", dependencies: fuzzed + ["TestSupport"], exclude: ["Regressions"],
      swiftSettings: simulation)
  ]

let package = Package(
  name: "vhdfs",
  products: [.executable(name: "vhdfs", targets: ["vhdfs"])],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    // What C declares and Swift cannot reach by itself: one header of inline functions.
    .target(name: "LinuxSystem"),
    .systemLibrary(name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(name: "CISAL", providers: [.apt(["libisal-dev"])]),

    .target(
      name: "Storage",
      dependencies: ["LinuxSystem", .product(name: "SystemPackage", package: "swift-system")],
      swiftSettings: settings),
    .target(name: "VHD", dependencies: ["Storage"], swiftSettings: settings),
    .target(name: "VHDX", dependencies: ["Storage", "CISAL"], swiftSettings: settings),
    .target(name: "ChangeTracking", dependencies: ["Storage", "CISAL"], swiftSettings: settings),
    .target(
      name: "VirtualDisk", dependencies: ["LinuxSystem", "Storage", "VHD", "VHDX", "ChangeTracking"],
      swiftSettings: settings),
    .target(name: "GuestLayout", dependencies: ["Storage", "CISAL"], swiftSettings: settings),
    .target(
      name: "ImageManagement",
      dependencies: [
        "LinuxSystem", "Storage", "VHD", "VHDX", "ChangeTracking", "VirtualDisk", "GuestLayout",
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),
    .target(
      name: "MountedView",
      dependencies: [
        "CFuse", "LinuxSystem", "Storage", "ChangeTracking", "VirtualDisk", "GuestLayout", "ImageManagement",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .executableTarget(
      name: "vhdfs",
      dependencies: [
        "LinuxSystem", "Storage", "VHD", "VHDX", "ChangeTracking", "VirtualDisk", "ImageManagement",
        "MountedView",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "SystemPackage", package: "swift-system"),
      ],
      swiftSettings: settings),

    // What tests share: images, patterns, programs, mounts.
    .target(name: "TestSystem", path: "Tests/TestSystem"),
    .target(
      name: "TestSupport",
      dependencies: [
        "LinuxSystem", "Storage", "TestSystem", .product(name: "SystemPackage", package: "swift-system"),
      ],
      path: "Tests/TestSupport", swiftSettings: simulation),
    .target(
      name: "Simulation",
      dependencies: ["VirtualDisk", "Storage", "VHD", "VHDX", "ChangeTracking", "TestSupport"],
      path: "Tests/Simulation", swiftSettings: simulation),
    .executableTarget(
      name: "Simulator",
      dependencies: [
        "Simulation", "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Tests/Simulator", swiftSettings: settings),
    .target(
      name: "Kills",
      dependencies: ["LinuxSystem", "TestSupport", "TestSystem"],
      path: "Tests/Kills", swiftSettings: simulation),
    .executableTarget(
      name: "Killer",
      dependencies: [
        "Kills", "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Tests/Killer", swiftSettings: settings),
    .testTarget(
      name: "GuestLayoutTests", dependencies: ["GuestLayout", "Storage", "TestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "CorpusTests", dependencies: ["ImageManagement", "VirtualDisk", "Storage", "TestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "MountTests", dependencies: ["Kills", "LinuxSystem", "TestSupport", "TestSystem"],
      swiftSettings: settings),
    .testTarget(name: "StorageTests", dependencies: ["Storage", "TestSupport"], swiftSettings: settings),
    .testTarget(
      name: "VHDTests", dependencies: ["VHD", "Storage", "TestSupport"], swiftSettings: simulation),
    .testTarget(
      name: "ChangeTrackingTests", dependencies: ["ChangeTracking", "Storage", "TestSupport"],
      swiftSettings: simulation),
    .testTarget(
      name: "VHDXTests", dependencies: ["VHDX", "Storage", "TestSupport"], swiftSettings: settings),
    .testTarget(
      name: "VirtualDiskTests",
      dependencies: ["Simulation", "VirtualDisk", "Storage", "VHD", "VHDX", "ChangeTracking", "TestSupport"],
      swiftSettings: simulation),
    .testTarget(
      name: "ImageManagementTests",
      dependencies: ["ImageManagement", "ChangeTracking", "Storage", "VirtualDisk"],
      swiftSettings: settings),
    .testTarget(
      name: "MountedViewTests",
      dependencies: [
        "MountedView", "ImageManagement", "ChangeTracking", "Storage", "VirtualDisk", "TestSupport",
        .product(name: "Logging", package: "swift-log"),
      ],
      swiftSettings: settings),
    .testTarget(name: "CommandTests", dependencies: ["TestSupport"], swiftSettings: settings),
  ] + fuzzing)
