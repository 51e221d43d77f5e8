//! SARIF 2.1.0 (OASIS), which code hosts and editors read.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{Diagnostic, Place, Sources};

/// One run with all diagnostics.
pub(super) fn sarif(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let codes: BTreeSet<&str> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    let rules: Vec<Json> = codes.iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<Json> = diagnostics.iter().map(|diagnostic| result(sources, diagnostic)).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "forebay", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            // Without it columns would count UTF-16 units (section 3.14.17).
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn result(sources: &Sources, diagnostic: &Diagnostic) -> Json {
    let more = diagnostic.notes.iter().chain(Some(&diagnostic.help)).filter(|text| !text.is_empty());
    let words: Vec<&str> = std::iter::once(&diagnostic.message).chain(more).map(String::as_str).collect();
    let also: Vec<Json> = diagnostic
        .also
        .iter()
        .map(|(place, label)| {
            let mut found = location(sources, place);
            found["message"] = json!({ "text": label });
            found
        })
        .collect();
    let mut result = json!({
        "ruleId": diagnostic.code,
        "level": diagnostic.severity.as_str(),
        "message": { "text": words.join("\n") },
        "locations": [location(sources, &diagnostic.place)],
    });
    if !also.is_empty() {
        result["relatedLocations"] = json!(also);
    }
    result
}

fn location(sources: &Sources, place: &Place) -> Json {
    let Some(source) = sources.files.get(place.file) else { return json!({}) };
    let (line, column) = source.line_column(place.span.start);
    let (end_line, end_column) = source.line_column(place.span.end.max(place.span.start));
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(&source.name) },
        "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
    } })
}

/// A path as a relative reference (RFC 3986, section 4.2).
fn uri(name: &str) -> String {
    let mut uri = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_' | b'~') {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::super::{Source, Span};
    use super::*;

    #[test]
    fn a_fault_has_its_rule_place_and_words() {
        let mut sources = Sources::default();
        let file = sources.add(Source::new("built-in °.toml", "a = 1\nü = \"x\"\n".to_owned()));
        let place = Place { file, span: Span::from(11..14) };
        let first = Place { file, span: Span::from(0..1) };
        let fault = Diagnostic::warning("P0150", place, "twice").also(first, "first").help("remove one");
        let log: Json = serde_json::from_str(&sarif(&sources, &[fault])).unwrap();
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"], json!([{ "id": "P0150" }]));
        let result = &run["results"][0];
        assert_eq!(
            (&result["level"], &result["message"]["text"]),
            (&json!("warning"), &json!("twice\nremove one"))
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "built-in%20%C2%B0.toml");
        let expected = json!({ "startLine": 2, "startColumn": 5, "endLine": 2, "endColumn": 8 });
        assert_eq!(place["region"], expected);
        assert_eq!(result["relatedLocations"][0]["message"]["text"], "first");
    }
}
