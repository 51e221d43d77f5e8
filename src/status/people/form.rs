//! What a browser sends of a form (`application/x-www-form-urlencoded`), bounded in size, number and time.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};

/// Bytes of a form at most.
const FORM_BYTES_MAX: usize = 8 * 1024;
/// Fields at most.
const FIELDS_MAX: usize = 16;
/// All of it must be there within this time.
const FORM_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a form.
///
/// # Errors
/// The status that says what is wrong with it.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<BTreeMap<String, String>, StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let reading = tokio::time::timeout(FORM_TIMEOUT, axum::body::to_bytes(body, FORM_BYTES_MAX)).await;
    let bytes =
        reading.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    parse(&bytes).ok_or(StatusCode::BAD_REQUEST)
}

/// The fields; `None` when there are too many, one stands twice, or it is not UTF-8.
fn parse(bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(at + 1..).unwrap_or_default();
        if fields.len() == FIELDS_MAX || fields.insert(decode(&pair[..at])?, decode(value)?).is_some() {
            return None;
        }
    }
    Some(fields)
}

/// Percent-decodes; a plus is a space.
fn decode(text: &[u8]) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                out.push(digit(*high)? * 16 + digit(*low)?);
                rest = after;
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_read_as_browsers_write_them() {
        let fields = parse(b"name=J%C3%BCrgen&note=a+b%26c%3D1&empty=&bare").unwrap();
        let value = |name: &str| fields[name].as_str();
        assert_eq!(
            (value("name"), value("note"), value("empty"), value("bare")),
            ("Jürgen", "a b&c=1", "", "")
        );
        for wrong in [&b"a=1&a=2"[..], b"a=%", b"a=%4", b"a=%zz", b"a=%ff%fe"] {
            assert_eq!(parse(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
        let many: Vec<String> = (0..17).map(|at| format!("f{at}=1")).collect();
        assert_eq!(parse(many.join("&").as_bytes()), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields = parse(&bytes).unwrap_or_default();
            prop_assert!(fields.len() <= FIELDS_MAX);
        }
    }
}
