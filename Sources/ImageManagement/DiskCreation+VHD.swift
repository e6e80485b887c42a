import Storage
import VHD

extension DiskCreation {
  func makeVHD() throws(ImageError) {
    throw refusal("VHD files cannot be made yet", .notSupported)
  }
}
