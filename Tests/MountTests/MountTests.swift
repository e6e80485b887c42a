import TestSupport
import Testing

/// The whole program through real mounts, one test after the other: they watch times and devices.
@Suite(.serialized, .requiresMount)
enum MountTests {}
