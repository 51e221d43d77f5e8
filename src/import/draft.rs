//! A profile in the making, and its text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// One tag: its name and its keys with their values as TOML, `address` and `type` first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftTag {
    /// Name, unique in its group.
    pub name: String,
    /// Keys and values.
    pub keys: Vec<(&'static str, String)>,
}

/// A profile in the making.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// Name of the profile.
    pub name: String,
    /// Title for people; the name when empty.
    pub title: String,
    /// Protocol of the profile.
    pub protocol: &'static str,
    /// Where the numbers come from.
    pub source: String,
    /// Keys of the protocol's table: name, value as TOML, comment.
    pub options: Vec<(&'static str, String, String)>,
    /// `[opcua.namespaces]`.
    pub namespaces: Vec<(String, String)>,
    /// `[params]`: name, inline table as TOML.
    pub params: Vec<(String, String)>,
    /// Scan classes.
    pub scans: Vec<(String, Duration)>,
    /// `[defaults]`: keys and values as TOML.
    pub defaults: Vec<(&'static str, String)>,
    /// Groups of tags in their order.
    pub groups: Vec<(String, Vec<DraftTag>)>,
    /// `repeat` of groups.
    pub repeats: BTreeMap<String, Repeat>,
    /// Texts of enumerations.
    pub enums: BTreeMap<String, BTreeMap<i64, String>>,
    /// Where a group stands in `groups`.
    pub(crate) by_name: BTreeMap<String, usize>,
    /// Tags in all groups.
    pub(crate) count: usize,
    /// The first device; without one the lines are there as comments.
    pub device: Option<DraftDevice>,
}

/// `repeat` of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    /// First number.
    pub from: u32,
    /// Last number.
    pub to: u32,
    /// Units from one to the next.
    pub stride: u32,
}

impl Repeat {
    /// As TOML.
    pub fn render(self) -> String {
        let Self { from, to, stride } = self;
        format!("{{ as = \"n\", from = {from}, to = {to}, stride = {stride} }}")
    }
}

/// `[[device]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftDevice {
    /// Name.
    pub name: String,
    /// Endpoint.
    pub endpoint: String,
    /// Location.
    pub location: String,
    /// `allow_insecure = true`.
    pub insecure: bool,
}

impl Draft {
    /// Adds a tag to a group, which is made where it is missing.
    pub fn add(&mut self, group: &str, tag: DraftTag) {
        let next = self.groups.len();
        let at = *self.by_name.entry(group.to_owned()).or_insert(next);
        if at == next {
            self.groups.push((group.to_owned(), Vec::new()));
        }
        if let Some((_, tags)) = self.groups.get_mut(at) {
            tags.push(tag);
            self.count += 1;
        }
    }

    /// Number of tags.
    pub fn tags(&self) -> usize {
        self.count
    }

    /// The profile as text.
    pub fn render(&self) -> String {
        let mut text = String::from("forebay = 1\n\n[profile]\n");
        let title = if self.title.is_empty() { &self.name } else { &self.title };
        let lines = [
            ("name", string(&self.name)),
            ("title", format!("{{ en = {} }}", string(title))),
            ("version", string("1.0.0")),
            ("protocol", string(self.protocol)),
            ("source", string(&self.source)),
        ];
        pairs(&mut text, &lines.map(|(key, value)| (key.to_owned(), value, String::new())));
        if !self.options.is_empty() {
            head(&mut text, self.protocol);
            let options = self.options.iter().cloned();
            pairs(
                &mut text,
                &options.map(|(key, value, why)| (key.to_owned(), value, why)).collect::<Vec<_>>(),
            );
        }
        if !self.namespaces.is_empty() {
            head(&mut text, &format!("{}.namespaces", self.protocol));
            pairs(&mut text, &plain(self.namespaces.iter().map(|(alias, uri)| (alias.clone(), string(uri)))));
        }
        if !self.params.is_empty() {
            head(&mut text, "params");
            pairs(&mut text, &plain(self.params.iter().cloned()));
        }
        head(&mut text, "scan");
        let scans = self.scans.iter().map(|(name, every)| (name.clone(), string(&duration(*every))));
        pairs(&mut text, &plain(scans));
        head(&mut text, "defaults");
        pairs(&mut text, &plain(self.defaults.iter().map(|(key, value)| ((*key).to_owned(), value.clone()))));
        for (name, tags) in &self.groups {
            head(&mut text, &format!("tags.{name}"));
            group(&mut text, self.repeats.get(name).copied(), tags);
        }
        for (name, values) in &self.enums {
            head(&mut text, &format!("enum.{name}"));
            let values = values
                .iter()
                .map(|(number, words)| (number.to_string(), format!("{{ en = {} }}", string(words))));
            pairs(&mut text, &plain(values));
        }
        self.device(&mut text);
        text
    }

    fn device(&self, text: &mut String) {
        let (begin, device) = match &self.device {
            Some(device) => ("", device.clone()),
            None => {
                text.push_str("\n# One block for each machine of this type; take the # away:\n");
                let endpoint = match self.protocol {
                    "modbus" => "tcp://192.168.0.10:502",
                    "opcua" => "opc.tcp://192.168.0.10:4840",
                    _ => "192.168.0.10",
                };
                let location = "Site/Area/Line/Cell".to_owned();
                let name = format!("{}-1", &self.name[..self.name.len().min(62)]);
                ("# ", DraftDevice { name, endpoint: endpoint.to_owned(), location, insecure: false })
            }
        };
        let blank = if begin.is_empty() { "\n" } else { "" };
        // Writing to a `String` cannot fail, here and below.
        let _infallible = writeln!(
            text,
            "{blank}{begin}[[device]]\n{begin}name     = {}\n{begin}endpoint = {}\n{begin}location = {}",
            string(&device.name),
            string(&device.endpoint),
            string(&device.location)
        );
        if device.insecure {
            text.push_str("allow_insecure = true\n");
        }
    }
}

fn head(text: &mut String, name: &str) {
    let _infallible = writeln!(text, "\n[{name}]");
}

fn plain(pairs: impl Iterator<Item = (String, String)>) -> Vec<(String, String, String)> {
    pairs.map(|(key, value)| (key, value, String::new())).collect()
}

/// `key = value   # comment`, keys and comments in columns.
fn pairs(text: &mut String, pairs: &[(String, String, String)]) {
    let keys = pairs.iter().map(|(key, ..)| key.len()).max().unwrap_or(0);
    let values = pairs.iter().filter(|(.., why)| !why.is_empty()).map(|(_, value, _)| value.chars().count());
    let values = values.max().unwrap_or(0);
    for (key, value, why) in pairs {
        let _infallible = match why.as_str() {
            "" => writeln!(text, "{key:keys$} = {value}"),
            why => writeln!(text, "{key:keys$} = {value:values$}   # {why}"),
        };
    }
}

/// One line for each tag, names, addresses and types in columns.
fn group(text: &mut String, repeat: Option<Repeat>, tags: &[DraftTag]) {
    let repeated = if repeat.is_some() { "repeat".len() } else { 0 };
    let names = tags.iter().map(|tag| tag.name.len()).max().unwrap_or(0).max(repeated);
    if let Some(repeat) = repeat {
        let _infallible = writeln!(text, "{:names$} = {}", "repeat", repeat.render());
    }
    let columns = ["address", "type"].map(|column| {
        let found = tags.iter().filter_map(|tag| value(tag, column));
        found.map(|value| value.chars().count()).max().unwrap_or(0)
    });
    for tag in tags {
        let _infallible = writeln!(text, "{:names$} = {}", tag.name, line(tag, columns));
    }
}

fn value<'a>(tag: &'a DraftTag, key: &str) -> Option<&'a String> {
    tag.keys.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The inline table of one tag; `columns` are the widths of address and type.
pub fn line(tag: &DraftTag, columns: [usize; 2]) -> String {
    let mut line = String::from("{ ");
    for (index, (key, value)) in tag.keys.iter().enumerate() {
        let last = index + 1 == tag.keys.len();
        let width = match *key {
            "address" => columns[0],
            "type" => columns[1],
            _ => 0,
        };
        line.push_str(&format!("{key} = {value}"));
        if !last {
            let fill = (width + 1).saturating_sub(value.chars().count()).max(1);
            line.push(',');
            line.push_str(&" ".repeat(fill));
        }
    }
    line + " }"
}

/// A text as TOML; a literal where it holds double quotes, as node ids do.
pub fn string(text: &str) -> String {
    let plain = |c: char| !c.is_control() && !matches!(c, '\'');
    if text.contains(['"', '\\']) && text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut escaped = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            letter if letter.is_control() => escaped.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => escaped.push(letter),
        }
    }
    escaped.push('"');
    escaped
}

/// Words for people: control characters become blanks, and braces are not read as parameters.
pub fn words(text: &str) -> String {
    let plain = text.chars().map(|c| match c {
        '{' => '(',
        '}' => ')',
        c if c.is_control() => ' ',
        c => c,
    });
    plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number as TOML.
pub fn number(number: f64) -> String {
    // Whole numbers without `.0`: that is how people write them.
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number:.0}") } else { format!("{number:?}") }
}

/// A duration as profiles write it, to the millisecond.
pub fn duration(every: Duration) -> String {
    let ms = every.as_millis();
    match [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        .iter()
        .find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit))
    {
        Some((letter, unit)) => format!("{}{letter}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_toml() {
        assert_eq!(string("a"), "\"a\"");
        assert_eq!(string("ns=plc;s=\"DB\".\"x\""), "'ns=plc;s=\"DB\".\"x\"'");
        assert_eq!(string("it's \"so\"\n"), "\"it's \\\"so\\\"\\u000A\"");
        assert_eq!(words("a {db}\r\n  b\tc"), "a (db) b c");
        assert_eq!(
            [number(0.0), number(-27648.0), number(0.1), number(1e300)].join(" "),
            "0 -27648 0.1 1e300"
        );
        assert_eq!(
            [100, 1000, 90_000, 120_000].map(|ms| duration(Duration::from_millis(ms))).join(" "),
            "100ms 1s 90s 2m"
        );
    }
}
