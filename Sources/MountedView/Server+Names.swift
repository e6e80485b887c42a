import CFuse
import Glibc
import Storage
import VirtualDisk

/// Names, attributes and directories: answered from what is known, without a file being opened. Only the
/// partitions of a disk may have to be read first.
extension Server {
  /// Seconds for which the kernel may go by what it was told.
  enum Validity {
    static let name = 1.0
    static let attributes = 1.0
    /// Control files, names with a query, and points: asked for each time.
    static let facts = 0.0
  }

  // MARK: - Names

  /// Bytes of a name, as statfs(2) tells. Newer kernels pass names of up to 4095 bytes on.
  private static let longestName = 255

  func lookup(_ request: Request, in parent: NodeNumber, name: String) {
    guard name.utf8.count <= Server.longestName else { return request.fail(ENAMETOOLONG) }
    switch tree.node(parent) {
    case .root:
      if name == Tree.daemonName {
        enter(request, .daemon, attributes.facts(.daemon), Validity.facts)
      } else if name == Tree.jobsName {
        enter(request, .jobs, attributes.directory(.jobs, mode: 0o500), Validity.facts)
      } else if let image = tree.image(named: name) {
        enter(request, image, .image)
      } else if let image = tree.goneImage(named: name), lastJob(of: image) != nil {
        enter(request, image, .image)
      } else {
        request.fail(ENOENT)
      }
    case .jobs: lookupJob(request, name: name)
    case .place(let image, .image) where !tree.isPresent(image):
      // Of one that has gone, its jobs.
      guard name == "control", lastJob(of: image) != nil else { return request.fail(ENOENT) }
      enter(request, image, .control)
    case .place(let image, .image):
      switch name {
      case "disk" where !image.isBroken: enter(request, image, .disk)
      case "partitions" where !image.isBroken: enter(request, image, .partitions)
      case "points" where !image.isBroken: enter(request, image, .points)
      case "control": enter(request, image, .control)
      default: request.fail(ENOENT)
      }
    case .place(let image, .control):
      guard let query = ControlQuery(name: name), shows(query.file, of: image) else {
        return request.fail(ENOENT)
      }
      if query.file.takesOrders {
        // Programs compare what `stat` tells: the number that it shows stays the same.
        let number = tree.operationNode(image, query)
        let shown = NodeNumber(image: image.serial, .facts(query.file))
        return enter(request, number, attributes.control(shown, query.file), Validity.facts)
      }
      if query.question == nil { return enter(request, image, .facts(query.file)) }
      let number = tree.queryNode(image, query)
      enter(request, number, attributes.control(number, query.file), Validity.facts)
    case .place(let image, .points):
      lookupPoint(request, image, name: name)
    case .point(_, let point, .directory):
      guard let place = PointPlace(name: name) else { return request.fail(ENOENT) }
      enter(request, parent.pointCounter, point, place)
    case .place(let image, .partitions):
      guard let index = PartitionWindow.number(ofName: name) else { return request.fail(ENOENT) }
      if image.knownPartitions != nil { return enter(request, image, .partition(index)) }
      tasks.add { [unowned self] in
        _ = partitions(of: image)
        enter(request, image, .partition(index))
      }
    default:
      request.fail(ENOENT)
    }
  }

  private func enter(_ request: Request, _ image: ImageView, _ place: NodeNumber.Place) {
    let number = NodeNumber(image: image.serial, place)
    guard let status = status(of: image, place) else { return request.fail(ENOENT) }
    if case .facts = place {
      enter(request, number, status, Validity.facts)
    } else {
      // The name of one that has gone may be another's at any moment.
      enter(request, number, status, tree.isPresent(image) ? Validity.name : Validity.facts)
    }
  }

  func enter(_ request: Request, _ number: NodeNumber, _ status: stat, _ seconds: Double) {
    var entry = fuse_entry_param()
    entry.ino = number.rawValue
    entry.attr = status
    entry.attr_timeout = seconds
    entry.entry_timeout = seconds
    // Counted before the answer: the kernel may give it back before `reply` returns.
    tree.countLookup(number)
    if !request.reply(entry: entry) { tree.forget(number, 1) }
  }

  // MARK: - Attributes

  /// Nil where there is no such node.
  private func status(of image: ImageView, _ place: NodeNumber.Place) -> stat? {
    let number = NodeNumber(image: image.serial, place)
    let facts = image.facts
    switch place {
    case .image: return attributes.directory(number, mode: 0o700, modified: facts?.hostStatus.modified)
    case .control: return attributes.directory(number, mode: 0o700)
    case .points: return facts == nil ? nil : attributes.directory(number, mode: 0o700)
    case .partitions: return facts == nil ? nil : attributes.directory(number, mode: 0o500)
    case .facts(let file): return attributes.control(number, file)
    case .disk:
      guard let facts else { return nil }
      return attributes.raw(
        number, length: facts.virtualSize, allocated: facts.hostStatus.allocated,
        modified: facts.hostStatus.modified)
    case .partition(let index):
      guard let facts, let window = image.lastPartitions.first(where: { $0.number == index }) else {
        return nil
      }
      return attributes.raw(
        number, length: window.length, allocated: facts.hostStatus.allocated,
        modified: facts.hostStatus.modified)
    }
  }

  private func status(of number: NodeNumber) -> stat? {
    switch tree.node(number) {
    case .root: attributes.directory(number, mode: 0o500)
    case .daemon, .job: attributes.facts(number)
    case .jobs: attributes.directory(number, mode: 0o500)
    case .query(let image, let query):
      attributes.control(
        query.file.takesOrders ? NodeNumber(image: image.serial, .facts(query.file)) : number, query.file)
    case .point(_, let point, let place): status(of: point, place, number)
    case .place(let image, let place): status(of: image, place)
    case nil: nil
    }
  }

  func showAttributes(_ request: Request, _ number: NodeNumber) {
    guard let status = status(of: number) else { return request.fail(ESTALE) }
    let isLasting: Bool =
      switch tree.node(number) {
      case .root: true
      case .place(_, .facts), .daemon, .jobs, .job, .query, .point, nil: false
      case .place: true
      }
    request.reply(attributes: status, validFor: isLasting ? Validity.attributes : Validity.facts)
  }

  /// Times may be set and are passed over. A disk's size is changed by an operation and not by truncation;
  /// whom a file belongs to and its mode are the mount's options.
  func setAttributes(_ request: Request, _ number: NodeNumber, changes: Int32, size: UInt64) {
    guard let status = status(of: number) else { return request.fail(ESTALE) }
    if changes & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) != 0 {
      return request.fail(EPERM)
    }
    if changes & FUSE_SET_ATTR_SIZE != 0 && size != UInt64(clamping: status.st_size) {
      return request.fail(EPERM)
    }
    request.reply(attributes: status, validFor: 0)
  }

  func showFileSystem(_ request: Request) {
    var status = statvfs()
    // The block size is what a loop device takes for the granularity of its discards.
    status.f_bsize = 4096
    status.f_frsize = 4096
    status.f_namemax = UInt(Server.longestName)
    _ = fuse_reply_statfs(request.pointer, &status)
  }

  // MARK: - Directories

  func openDirectory(_ request: Request, _ number: NodeNumber) {
    if case .place(let image, .partitions) = tree.node(number), image.knownPartitions == nil {
      tasks.add { [unowned self] in
        _ = partitions(of: image)
        replyOpened(request, number)
      }
    } else if case .place(let image, .points) = tree.node(number) {
      tasks.add { [unowned self] in
        refreshPoints(of: image)
        replyOpened(request, number)
      }
    } else {
      replyOpened(request, number)
    }
  }

  private func replyOpened(_ request: Request, _ number: NodeNumber) {
    guard let entries = entries(of: number) else { return request.fail(ENOENT) }
    let listing = Unmanaged.passRetained(DirectoryListing(directory: number, entries: entries))
    let handle = UInt64(UInt(bitPattern: listing.toOpaque()))
    if !request.replyOpened(handle: handle, flags: 0) { listing.release() }
  }

  func readDirectory(_ request: Request, handle: UInt64, size: Int, offset: Int) {
    guard let pointer = UnsafeRawPointer(bitPattern: UInt(handle)) else { return request.fail(EBADF) }
    Unmanaged<DirectoryListing>.fromOpaque(pointer)._withUnsafeGuaranteedRef { listing in
      if offset == 0, let fresh = entries(of: listing.directory) { listing.renew(fresh) }
      listing.reply(from: offset, size: size, request)
    }
  }

  func releaseDirectory(_ request: Request, handle: UInt64) {
    if let pointer = UnsafeRawPointer(bitPattern: UInt(handle)) {
      Unmanaged<DirectoryListing>.fromOpaque(pointer).release()
    }
    request.succeed()
  }

  private func entries(of number: NodeNumber) -> [DirectoryListing.Entry]? {
    var entries = [DirectoryListing.Entry(name: ".", node: number, isDirectory: true)]
    func add(_ image: ImageView, _ place: NodeNumber.Place, _ name: String, isDirectory: Bool) {
      entries.append(
        .init(name: name, node: NodeNumber(image: image.serial, place), isDirectory: isDirectory))
    }
    switch tree.node(number) {
    case .root:
      entries.append(.init(name: "..", node: .root, isDirectory: true))
      if !jobs.jobs.isEmpty { entries.append(.init(name: Tree.jobsName, node: .jobs, isDirectory: true)) }
      for image in tree.images { add(image, .image, image.name, isDirectory: true) }
    case .jobs:
      entries.append(.init(name: "..", node: .root, isDirectory: true))
      for job in jobs.jobs {
        entries.append(
          .init(name: "\(job.id)", node: NodeNumber(job: job.id, asJSON: false), isDirectory: false))
      }
    case .place(let image, .image):
      entries.append(.init(name: "..", node: .root, isDirectory: true))
      if !image.isBroken, tree.isPresent(image) {
        add(image, .disk, "disk", isDirectory: false)
        add(image, .partitions, "partitions", isDirectory: true)
        add(image, .points, "points", isDirectory: true)
      }
      add(image, .control, "control", isDirectory: true)
    case .place(let image, .control):
      add(image, .image, "..", isDirectory: true)
      for file in ControlFile.allCases where shows(file, of: image) {
        add(image, .facts(file), file.name, isDirectory: false)
      }
    case .place(let image, .partitions):
      add(image, .image, "..", isDirectory: true)
      for window in image.lastPartitions {
        add(image, .partition(window.number), "\(window.number)", isDirectory: false)
      }
    case .place(let image, .points):
      add(image, .image, "..", isDirectory: true)
      for (counter, point) in tree.points(of: image) {
        entries.append(
          .init(name: point.name, node: NodeNumber(point: counter, .directory), isDirectory: true))
      }
    case .point(let image, _, .directory):
      add(image, .points, "..", isDirectory: true)
      for (name, place) in PointPlace.listed {
        let file = NodeNumber(point: number.pointCounter, place)
        entries.append(.init(name: name, node: file, isDirectory: false))
      }
    default: return nil
    }
    return entries
  }
}
