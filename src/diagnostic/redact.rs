//! Secrets that somebody has written into a file are a fault; the message about it must not carry
//! them into a log.

use super::source::{Source, Sources};

/// Keys whose values are secrets wherever they stand.
const SECRET_KEYS: [&str; 2] = ["password", "key"];
/// A value that begins so is a name, not a secret.
const NAME: &str = "credential:";

/// The same files, with secrets replaced by asterisks of the same length, so that all places stay.
pub(super) fn redacted(sources: &Sources) -> Sources {
    let files = sources.files.iter().map(|source| Source::new(source.name.clone(), redact(&source.text)));
    Sources { files: files.collect() }
}

fn redact(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for key in SECRET_KEYS {
        for (at, _) in text.match_indices(key) {
            if let Some((start, end)) = value_after(text, at + key.len()) {
                let value = &text[start..end];
                // `key` may name a file; only what is a key itself is secret.
                let is_secret = key != "key" || value.contains("-----BEGIN");
                if is_secret && !value.starts_with(NAME) {
                    bytes[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
                }
            }
        }
    }
    // Whole values were replaced by ASCII, so what is left is whole characters.
    String::from_utf8(bytes).unwrap_or_default()
}

/// Where the text inside the quotes after `=` begins and ends; to the end of the line (or of the
/// file, for three quotes) when they are not closed.
fn value_after(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = text[at..].trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=')?.trim_start_matches([' ', '\t']);
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| rest.starts_with(quotes))?;
    let start = text.len() - rest.len() + quotes.len();
    let inside = &text[start..];
    let limit = if quotes.len() == 3 { inside.len() } else { inside.find('\n').unwrap_or(inside.len()) };
    let end = inside[..limit].find(quotes).unwrap_or(limit);
    Some((start, start + end))
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn secrets_are_hidden_and_names_are_not() {
        for (text, shown) in [
            ("password = \"hunter2\" # x", "password = \"*******\" # x"),
            ("auth = { user = \"u\", password='ä1' }", "auth = { user = \"u\", password='***' }"),
            ("password = \"open", "password = \"****"),
            ("\"password\" = \"\"\"a\nb\"\"\"", "\"password\" = \"\"\"*\n*\"\"\""),
            ("password = \"credential:kafka\"", "password = \"credential:kafka\""),
            ("key = \"/etc/forebay/kafka.key\"", "key = \"/etc/forebay/kafka.key\""),
            ("key = \"-----BEGIN X\"", "key = \"************\""),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
