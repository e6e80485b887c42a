/// What `--version` says; CHANGELOG.md has an entry for each.
let programVersion = "0.1.0"
