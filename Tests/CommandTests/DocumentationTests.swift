import TestSupport
import Testing

@Suite("What the documents say")
struct DocumentationTests {
  /// A row of the table: feature, state, and the test that checks it.
  static let rows: [[String]] = {
    let page = (try? textOfFile(Project.file("FEATURES.md"))) ?? ""
    return page.split(separator: "\n").filter { $0.hasPrefix("| ") }.map { line in
      line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false).map {
        String($0).trimmed
      }
    }
  }()

  @Test func eachFeatureHasAStateAndATest() throws {
    let rows = DocumentationTests.rows.filter { $0.first != "feature" }
    #expect(rows.count > 40)
    for row in rows {
      try #require(row.count == 3, "\(row)")
      #expect(["Supported", "Partial", "Refused", "Planned"].contains(row[1]), "\(row)")
      #expect(row[1] == "Planned" || !row[2].isEmpty, "\(row)")
    }
  }

  /// `Target/File.swift` or `Target/File.swift: test`, several with commas.
  @Test func eachTestThatIsNamedExists() throws {
    for row in DocumentationTests.rows where row.count == 3 {
      for name in row[2].split(separator: ",") where name.contains(".swift") {
        let parts = name.replacing("`", with: "").split(separator: ":").map { String($0).trimmed }
        let path = Project.file("Tests/\(parts[0])")
        try #require(fileExists(path), "\(row[0]): \(parts[0])")
        if parts.count > 1 {
          #expect(try textOfFile(path).contains("func \(parts[1])("), "\(row[0]): \(parts[1]) in \(parts[0])")
        }
      }
    }
  }

  /// Each promise and each limit of the threat model names tests, and they exist.
  @Test func eachPromiseOfTheThreatModelHasATest() throws {
    let page = try textOfFile(Project.file("docs/threat-model.md"))
    let rows = page.split(separator: "\n").filter {
      $0.hasPrefix("| ") && !$0.hasPrefix("| who ") && !$0.hasPrefix("| what ")
    }
    #expect(rows.count > 20)
    for row in rows {
      let names = row.matches(of: /([A-Za-z]+Tests\/[A-Za-z]+\.swift)(?:: ([A-Za-z0-9]+))?/)
      #expect(!names.isEmpty, "\(row)")
      for name in names {
        let path = Project.file("Tests/\(name.1)")
        try #require(fileExists(path), "\(row)")
        if let test = name.2 { #expect(try textOfFile(path).contains("func \(test)("), "\(row)") }
      }
    }
  }

  @Test(arguments: ["README.md", "ARCHITECTURE.md", "FEATURES.md", "CHANGELOG.md"])
  func linksLeadSomewhere(_ page: String) throws {
    for link in try textOfFile(Project.file(page)).matches(of: /\]\(([^)#:]+)\)/) {
      #expect(fileExists(Project.file(String(link.1))), "\(page): \(link.1)")
    }
  }

  /// A mutant whose lines are not in the sources any more shows nothing: `make mutants` needs its new form.
  @Test(.requiresPrograms("python3")) func eachMutantFitsTheSources() throws {
    let result = try run([Project.file("scripts/mutants"), "--list"])
    #expect(result.succeeded, "\(result.summary)")
    let count = result.output.split(separator: "\n").count
    #expect(count > 90, "\(count) mutants")
  }

  @Test func eachKeyOfTheReportsIsDocumented() throws {
    let page = try textOfFile(Project.file("docs/control-files.md"))
    let directory = try TemporaryDirectory()
    for format in ["vhd", "vhdx"] {
      let base = directory.file("base.\(format)")
      let child = directory.file("child.\(format)")
      try Vhdfs.create(base, ["--size", "64M"])
      try Vhdfs.create(child, ["--parent", base])
      for path in [base, child] {
        for line in try Vhdfs.runChecked(["info", path]).split(separator: "\n") {
          #expect(page.contains("| `\(line.prefix { $0 != " " })` |"), "\(line)")
        }
      }
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
