//! What stands behind a code of `forebay check`: the page in `docs/errors`, which is in the program.

const PAGES: &str = include_str!("../../docs/errors/README.md");

/// The section of a code, for example `P0126`, small or large letters.
pub fn section(code: &str) -> Option<String> {
    let begin = format!("\n## {}: ", code.to_ascii_uppercase());
    let from = PAGES.find(&begin)? + 4;
    let rest = &PAGES[from..];
    let end = rest.find("\n## ").into_iter().chain(rest.find("\n# ")).min().unwrap_or(rest.len());
    Some(format!("{}\n", rest[..end].trim_end()))
}
