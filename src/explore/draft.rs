//! A first profile, made of what a server says of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use forebay_connector::{DataType, Protocol, Scalar};
use forebay_opcua::OpcUa;
use forebay_opcua::browse::{Found, Variable, Walk};
use forebay_opcua::with_field;

use crate::profile::units::{UNITS, Unit};

/// Letters of a name that was made at most.
const NAME_CHARS_MAX: usize = 48;
/// Tags that are named in a comment because they cannot be read, at most.
const LEFT_OUT_NAMED: usize = 50;

/// How the server was reached.
pub struct Connection<'a> {
    pub url: &'a str,
    pub security: &'a str,
    pub mode: &'a str,
    pub user: Option<&'a str>,
    pub trust: Option<&'a str>,
    pub under: Option<&'a str>,
}

/// A profile as text.
pub struct Draft {
    pub text: String,
    /// Tags in it.
    pub tags: usize,
    /// Variables that cannot be tags.
    pub left_out: usize,
}

/// Everything the text is made of.
#[derive(Default)]
struct Parts {
    /// Alias by URI.
    namespaces: BTreeMap<String, String>,
    /// Lines by group, in the order of the server.
    groups: Vec<(String, Vec<String>)>,
    /// Names taken in each group.
    taken: BTreeMap<String, BTreeSet<String>>,
    /// Name by the texts.
    enums: BTreeMap<BTreeMap<i64, String>, String>,
    left_out: Vec<String>,
    tags: usize,
}

/// The unit with this `unitId` of OPC UA.
pub fn unit_by_id(id: u32) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.unit_id() == id)
}

/// Makes the draft.
pub fn profile(walk: &Walk, connection: &Connection<'_>) -> Draft {
    let mut parts = Parts::default();
    // What lies right below the beginning belongs to it.
    let begin =
        connection.under.filter(|under| !under.contains('=')).and_then(|under| under.rsplit('/').next());
    let mut path: Vec<String> = begin.map(str::to_owned).into_iter().collect();
    let above = path.len();
    for found in &walk.found {
        path.truncate(above + found.depth);
        if let Some(variable) = &found.variable {
            parts.tag(found, variable, &path);
        }
        path.push(found.name.clone());
    }
    let text = parts.text(walk, connection);
    Draft { text, tags: parts.tags, left_out: parts.left_out.len() }
}

impl Parts {
    fn tag(&mut self, found: &Found, variable: &Variable, path: &[String]) {
        if variable.data_type.is_none() && variable.readable && !variable.fields.is_empty() {
            for (field, data_type) in &variable.fields {
                let only = Variable { data_type: Some(*data_type), readable: true, ..Variable::default() };
                let name = format!("{}_{field}", found.name);
                let part = Found { name, variable: Some(only.clone()), ..found.clone() };
                self.tag_of(&part, &only, path, Some(field));
            }
            return;
        }
        self.tag_of(found, variable, path, None);
    }

    fn tag_of(&mut self, found: &Found, variable: &Variable, path: &[String], field: Option<&str>) {
        let whole = || path.iter().chain([&found.name]).cloned().collect::<Vec<_>>().join("/");
        let Some(data_type) = variable.data_type.filter(|_| variable.readable) else {
            let why = match (variable.readable, variable.type_name.as_str()) {
                (false, _) => "not readable for this user",
                (true, "") => "has no value",
                (true, name) => name,
            };
            self.left_out.push(format!("{} ({why})", whole()));
            return;
        };
        let mut address = self.address(found);
        if let Some(field) = field {
            address = with_field(&address, field);
        }
        if let Err(fault) = OpcUa.check_address(&address, data_type) {
            self.left_out.push(format!("{} ({})", whole(), fault.message));
            return;
        }
        // The last two levels say most; the rest is in the address.
        let group = match path {
            [] => "server".to_owned(),
            path => {
                path[path.len().saturating_sub(2)..].iter().map(|it| word(it)).collect::<Vec<_>>().join("_")
            }
        };
        let group: String = group.chars().take(NAME_CHARS_MAX).collect();
        let name = unique(self.taken.entry(group.clone()).or_default(), &word(&found.name));
        let line = self.line(found, &name, &address, data_type);
        match self.groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, lines)) => lines.push(line),
            None => self.groups.push((group, vec![line])),
        }
        self.tags += 1;
    }

    fn address(&mut self, found: &Found) -> String {
        if found.namespace.is_empty() {
            return found.id.clone();
        }
        let next = self.namespaces.len() + 1;
        let alias = self.namespaces.entry(found.namespace.clone()).or_insert_with(|| format!("n{next}"));
        format!("ns={alias};{}", found.id)
    }

    fn line(&mut self, found: &Found, name: &str, address: &str, data_type: DataType) -> String {
        let unknown = Variable::default();
        let variable = found.variable.as_ref().unwrap_or(&unknown);
        let mut line = format!("{name} = {{ address = {}, type = \"{data_type}\"", literal(address));
        let scalar = data_type.scalar;
        let is_number = scalar.is_number() && data_type.array_len.is_none();
        if let Some(unit) = variable.unit_id.and_then(unit_by_id).filter(|_| scalar.is_number()) {
            let _infallible = write!(line, ", unit = \"{}\"", unit.symbol);
        }
        if let Some((low, high)) = variable.range.filter(|_| is_number) {
            let _infallible = write!(line, ", range = [{low:?}, {high:?}]");
        }
        let whole = is_number && !matches!(scalar, Scalar::Real | Scalar::Lreal);
        if whole && !variable.texts.is_empty() {
            let next = self.enums.len() + 1;
            let made = format!("{}_{next}", word(name));
            let known = self.enums.entry(variable.texts.clone()).or_insert(made);
            let _infallible = write!(line, ", enum = \"{known}\"");
        }
        let unit = variable.unit.as_str();
        let unknown = variable.unit_id.and_then(unit_by_id).is_none() && !unit.is_empty();
        let words = variable.description.trim();
        // Many servers repeat the name.
        let words = if word(words) == word(&found.name) { "" } else { words };
        let about = match (unknown, words) {
            (true, "") => format!("in {unit}"),
            (true, words) => format!("{words}, in {unit}"),
            (false, words) => words.to_owned(),
        };
        if !about.is_empty() {
            let _infallible = write!(line, ", desc = {}", quoted(&about));
        }
        line + " }"
    }

    fn text(&self, walk: &Walk, connection: &Connection<'_>) -> String {
        let Connection { url, security, mode, user, trust, under } = connection;
        let (identity, today) = (walk.identity.as_str(), jiff::Zoned::now().date());
        let product = if identity.is_empty() { "opcua-server" } else { identity };
        let name = word(product).replace('_', "-");
        let of = under.map(|under| format!(" --under {under}")).unwrap_or_default();
        let mut text = format!(
            "# A draft: take out what you do not need, say what deserves a faster scan, add deadband and [[verify]].\n\
             forebay = 1\n\n[profile]\nname     = \"{name}\"\nmodel    = {}\nversion  = \"0.1.0\"\n\
             protocol = \"opcua\"\nsource   = {}\n\n[opcua]\nsecurity = \"{security}\"\nmode     = \"{mode}\"\n",
            quoted(product),
            quoted(&format!("forebay browse {url}{of} on {today}, not yet checked by hand")),
        );
        if let Some(user) = user {
            let user = quoted(user);
            text += &format!("auth     = {{ user = {user}, password = \"credential:opcua-{name}\" }}\n");
        }
        if !self.namespaces.is_empty() {
            text += "\n[opcua.namespaces]\n";
            for (uri, alias) in &self.namespaces {
                text += &format!("{alias} = {}\n", quoted(uri));
            }
        }
        text += "\n[scan]\nnormal = \"1s\"\n\n[defaults]\nscan        = \"normal\"\nmax_silence = \"60s\"\n";
        for (group, lines) in &self.groups {
            text += &format!("\n[tags.{group}]\n{}\n", lines.join("\n"));
        }
        for (texts, name) in &self.enums {
            text += &format!("\n[enum.{name}]\n");
            for (number, words) in texts {
                text += &format!("{number} = {{ en = {} }}\n", quoted(words));
            }
        }
        if !self.left_out.is_empty() {
            text += "\n# Left out:\n";
            for what in self.left_out.iter().take(LEFT_OUT_NAMED) {
                text += &format!("#   {what}\n");
            }
            let more = self.left_out.len().saturating_sub(LEFT_OUT_NAMED);
            if more > 0 {
                text += &format!("#   and {more} more\n");
            }
        }
        text += &format!(
            "\n[[device]]\nname     = \"{name}-1\"\nendpoint = {}\nlocation = \"Site/Area/Line/Cell\"\n",
            quoted(url)
        );
        if *security == "None" {
            text += "allow_insecure = true\n";
        }
        if let Some(trust) = trust {
            text += &format!("trust    = \"{trust}\"\n");
        }
        text
    }
}

/// A name as profiles want it.
fn word(text: &str) -> String {
    let mut word = String::new();
    let mut before = ' ';
    for letter in text.chars() {
        if letter.is_ascii_alphanumeric() {
            // CurMachSpeed becomes cur_mach_speed.
            if letter.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
                word.push('_');
            }
            word.push(letter.to_ascii_lowercase());
        } else if !word.is_empty() && !word.ends_with('_') {
            word.push('_');
        }
        before = letter;
    }
    let word: String = word.trim_matches('_').chars().take(NAME_CHARS_MAX).collect();
    match word.as_str() {
        "" => "node".to_owned(),
        // Words that a group keeps for itself.
        "defaults" | "repeat" => word + "_tag",
        _ => word,
    }
}

/// The name, with a number behind it when it is taken.
fn unique(taken: &mut BTreeSet<String>, name: &str) -> String {
    let mut made = name.to_owned();
    for number in 2.. {
        if taken.insert(made.clone()) {
            break;
        }
        made = format!("{name}_{number}");
    }
    made
}

/// A node id as TOML: in single quotes where it can be, because double quotes belong to many ids.
fn literal(text: &str) -> String {
    if text.contains('\'') || text.chars().any(char::is_control) { quoted(text) } else { format!("'{text}'") }
}

/// A text as TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_become_names_of_profiles() {
        for (given, made) in [
            ("CurMachSpeed", "cur_mach_speed"),
            ("\"DB_Filler\".\"rTankLevel\"", "db_filler_r_tank_level"),
            ("Temperatur °C", "temperatur_c"),
            ("温度", "node"),
            ("defaults", "defaults_tag"),
        ] {
            assert_eq!(word(given), made);
        }
        let mut taken = BTreeSet::new();
        assert_eq!([(); 3].map(|()| unique(&mut taken, "a")), ["a", "a_2", "a_3"]);
        assert_eq!(literal("ns=n1;s=\"DB\".\"x\""), "'ns=n1;s=\"DB\".\"x\"'");
        assert_eq!(literal("s=it's \"x\""), "\"s=it's \\\"x\\\"\"");
    }
}
