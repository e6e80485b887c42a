import Storage

/// The picture as plain SVG 1.1, on a light ground, with all that it says in words above the grid.
extension DiskPicture {
  private enum Layout {
    static let pitch = 13
    static let side = 12
    static let left = 96
    static let width = left + columns * pitch + 24
    /// Where the legend's first line stands.
    static let legend = 84
    static let line = 22
  }

  private var legendLines: Int { (hasParent ? 4 : 3) + 1 }
  private var gridTop: Int { Layout.legend + legendLines * Layout.line + 6 }
  private var rows: Int { (squares.count + DiskPicture.columns - 1) / DiskPicture.columns }

  /// The whole document.
  public var svg: [UInt8] {
    let height = gridTop + rows * Layout.pitch + 20
    var text = """
      <?xml version="1.0" encoding="UTF-8"?>
      <svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="\(Layout.width)" height="\(height)" \
      viewBox="0 0 \(Layout.width) \(height)" font-family="sans-serif">
      <title>\(DiskPicture.markup(name))</title>
      <rect width="\(Layout.width)" height="\(height)" fill="#ffffff"/>
      <text x="24" y="36" font-size="20" font-weight="bold" fill="#1a1a1a">\(DiskPicture.markup(shortName))</text>
      <text x="24" y="60" font-size="13" fill="#444444">\(subtitle)</text>

      """
    appendLegend(&text)
    appendGrid(&text)
    text += "</svg>\n"
    return Array(text.utf8)
  }

  /// Names have up to 255 bytes; what does not fit beside each other is cut in the middle.
  private var shortName: String {
    DiskPicture.shortened(escaped(name), to: 72)
  }

  private static func shortened(_ text: String, to count: Int) -> String {
    text.count <= count ? text : "\(text.prefix(count / 2))…\(text.suffix(count / 2 - 1))"
  }

  private var subtitle: String {
    "A disk of \(sizeInWords(size)) · each square stands for \(sizeInWords(squareSize)) · \(timeText(made))"
  }

  // MARK: - Legend

  private func appendLegend(_ text: inout String) {
    var y = Layout.legend
    func line(_ swatch: String, _ words: String, _ bytes: UInt64?) {
      text += "<g transform=\"translate(24 \(y))\">\(swatch)"
      if let bytes {
        text += "<text x=\"112\" y=\"11\" font-size=\"13\" fill=\"#1a1a1a\" text-anchor=\"end\">"
        text += "\(sizeInWords(bytes))</text>"
      }
      let x = bytes == nil ? 24 : 128
      text +=
        "<text x=\"\(x)\" y=\"11\" font-size=\"13\" fill=\"#1a1a1a\">\(DiskPicture.markup(words))</text>"
      text += "</g>\n"
      y += Layout.line
    }
    for kind in Kind.allCases where hasParent || kind != .parent {
      let swatch = "<path d=\"M0 0h12v12h-12z\" fill=\"\(kind.colour)\" stroke=\"\(kind.edge)\"/>"
      line(swatch, kind.words, totals[kind.rawValue])
    }
    let swatch = "<path d=\"M3 3h6v6h-6z\" fill=\"\(DiskPicture.changeColour)\"/>"
    switch changes {
    case .since(let point):
      line(
        swatch,
        "Changed since the newest point, \(DiskPicture.shortened(point.name, to: 40)) (\(timeText(point.created)))",
        changed)
    case .unknown(let why): line(swatch, "Changed since the newest point: unknown. \(why).", nil)
    }
  }

  // MARK: - Grid

  /// One path for the squares of each kind: a picture of 4096 squares has some 70 KB.
  private func appendGrid(_ text: inout String) {
    for row in stride(from: 0, to: rows, by: 8) {
      let offset = UInt64(row * DiskPicture.columns) * squareSize
      text += "<text x=\"\(Layout.left - 8)\" y=\"\(gridTop + row * Layout.pitch + 10)\" font-size=\"11\" "
      text += "fill=\"#666666\" text-anchor=\"end\">\(offset == 0 ? "0" : sizeInWords(offset))</text>\n"
    }
    let kinds = squares.map(\.kind)
    for kind in Kind.allCases {
      let side = Layout.side
      appendPath(&text, "fill=\"\(kind.colour)\" stroke=\"\(kind.edge)\" stroke-width=\"0.5\"") {
        index, x, y in
        kinds[index] == kind ? "M\(x) \(y)h\(side)v\(side)h-\(side)z" : nil
      }
    }
    appendPath(&text, "fill=\"\(DiskPicture.changeColour)\"") { index, x, y in
      squares[index].changed > 0 ? "M\(x + 3) \(y + 3)h6v6h-6z" : nil
    }
  }

  private func appendPath(_ text: inout String, _ style: String, _ piece: (Int, Int, Int) -> String?) {
    var path = ""
    for index in squares.indices {
      let x = Layout.left + index % DiskPicture.columns * Layout.pitch
      let y = gridTop + index / DiskPicture.columns * Layout.pitch
      if let more = piece(index, x, y) { path += more }
    }
    if !path.isEmpty { text += "<path \(style) d=\"\(path)\"/>\n" }
  }

  static let changeColour = "#d7301f"

  /// Text as XML has it; control characters, which XML cannot hold at all, were escaped before.
  static func markup(_ text: String) -> String {
    var result = ""
    for scalar in escaped(text).unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      case "\u{FFFE}", "\u{FFFF}": result += "?"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

extension DiskPicture.Kind {
  /// Told apart without colours too, by how dark they are.
  fileprivate var colour: String {
    switch self {
    case .own: "#2b6cb0"
    case .parent: "#90c2ea"
    case .zero: "#f2d58a"
    case .unmapped: "#f3f3f3"
    }
  }

  fileprivate var edge: String {
    switch self {
    case .own: "#1f5088"
    case .parent: "#6fa8d6"
    case .zero: "#d9b65c"
    case .unmapped: "#d4d4d4"
    }
  }

  fileprivate var words: String {
    switch self {
    case .own: "Allocated in this image"
    case .parent: "Allocated in a parent"
    case .zero: "Zero"
    case .unmapped: "Unmapped: reads as zero"
    }
  }
}
