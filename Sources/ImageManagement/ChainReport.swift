import Storage
import VirtualDisk

/// The files of a chain from leaf to root, each with its state: the contents of `control/chain`, and what
/// `info --chain` prints.
///
/// In text each file's lines begin with `depth N`; in JSON the files are the members of `chain`. A file that could not
/// be opened is the last, with `state error` and the reason.
public struct ChainReport: Sendable {
  let links: [ChainLink]

  /// - Parameter links: leaf first.
  public init(_ links: [ChainLink]) {
    self.links = links
  }

  /// The whole report, ended by a newline.
  public func bytes(as format: ReportFormat) -> [UInt8] {
    var output = ReportBytes()
    switch format {
    case .text:
      for depth in links.indices { output.appendLines(fields(depth)) }
    case .json:
      output.append("{\n  \"chain\": [")
      for depth in links.indices {
        output.append(depth == 0 ? "\n    " : ",\n    ")
        output.appendObject(fields(depth), margin: "    ")
      }
      output.append(links.isEmpty ? "]\n}\n" : "\n  ]\n}\n")
    }
    return output.bytes
  }

  private func fields(_ depth: Int) -> [ReportField] {
    let link = links[depth]
    var fields = [ReportField("depth", .number(UInt64(depth))), ReportField("path", .text(link.path))]
    switch link.facts {
    case .success(let facts):
      // Where the parent was found; only where it was not, what the image says.
      var parentPath: String?
      if depth + 1 < links.count, case .success = links[depth + 1].facts {
        parentPath = links[depth + 1].path
      }
      fields += facts.fields(parentPath: parentPath)
      fields.append(ReportField("state", .text("ok")))
      fields += facts.stateFields
    case .failure(let error):
      fields.append(ReportField("state", .text("error")))
      fields.append(ReportField("reason", .sentence(error.description)))
    }
    return fields
  }
}
