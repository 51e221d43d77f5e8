//! Buttons: everything that a person can do by the page.
//!
//! To add one: make an [`Action`] where the thing is done (as [`feedback`] does), add it to the list in
//! `run/people.rs`, and draw it with `form`. Who is signed in, the token, the origin and the length of
//! everything are checked before it is called; it only does what it is for, and tells it in an event
//! that names the person.

mod feedback;
mod learn;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use maud::{Markup, html};

use crate::device::Text;
use crate::people::{People, Person, Role};

pub use feedback::feedback;
pub use learn::{accept, learn, promote};

/// A field of a form.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in the form.
    pub name: &'static str,
    /// Letters at most.
    pub chars_max: usize,
    /// What it may be; empty = any text.
    pub one_of: &'static [&'static str],
}

/// Fields of a form that is complete: each of the action's, and no others.
pub type Filled = BTreeMap<&'static str, String>;

/// Does it, on a thread where it may block. The error is shown to the person.
pub type Call = Box<dyn Fn(&Person, &Filled) -> Result<(), Text> + Send + Sync>;

/// One thing that a person can do.
pub struct Action {
    /// Part of its address, `/do/<name>`.
    pub name: &'static str,
    /// What its form must have.
    pub fields: &'static [Field],
    /// Who may: this role and those above.
    pub who: Role,
    /// What it does.
    pub call: Call,
}

/// Who may do what.
#[derive(Clone)]
pub struct Acts {
    /// Those who may sign in.
    pub people: Arc<People>,
    /// What can be done.
    pub actions: Arc<[Action]>,
    /// Passwords may come through the network unencrypted (`status.sign_in = "network"`).
    pub from_network: bool,
}

impl Default for Acts {
    /// Nobody and nothing: the page only shows.
    fn default() -> Self {
        Self { people: Arc::new(People::nobody()), actions: Arc::new([]), from_network: false }
    }
}

impl fmt::Debug for Acts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.actions.iter().map(|action| action.name);
        out.debug_list().entries(names).finish()
    }
}

impl Acts {
    /// The action of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.name == name)
    }
}

impl Action {
    /// The fields of a form; `None` when one is missing, too long, or none of those it may be.
    pub(super) fn fill(&self, mut sent: BTreeMap<String, String>) -> Option<Filled> {
        let fill = |field: &Field| {
            let text = sent.remove(field.name)?;
            let text = text.trim();
            let fits = text.chars().count() <= field.chars_max;
            let is_one = field.one_of.is_empty() || field.one_of.contains(&text);
            let is_plain = !text.chars().any(char::is_control);
            (fits && is_one && is_plain).then(|| (field.name, text.to_owned()))
        };
        self.fields.iter().map(fill).collect()
    }
}

/// A form for an action: `inner` are its own fields and buttons, `back` the page it stands on.
pub(super) fn form(action: &str, token: &str, back: &str, inner: &Markup) -> Markup {
    html! {
        form.act method="post" action={ "/do/" (action) } {
            input type="hidden" name="token" value=(token);
            input type="hidden" name="back" value=(back);
            (inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_forms_are_taken() {
        const FIELDS: &[Field] = &[
            Field { name: "answer", chars_max: 5, one_of: &["yes", "no"] },
            Field { name: "note", chars_max: 4, one_of: &[] },
        ];
        let call: Call = Box::new(|_, _| Ok(()));
        let action = Action { name: "try", fields: FIELDS, who: Role::Operator, call };
        let fill = |sent: &[(&str, &str)]| {
            action.fill(sent.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
        };
        let filled = fill(&[("answer", "yes"), ("note", " ä b "), ("more", "x")]).unwrap();
        assert_eq!((filled["answer"].as_str(), filled["note"].as_str(), filled.len()), ("yes", "ä b", 2));
        for sent in [
            &[("answer", "yes")][..],
            &[("answer", "maybe"), ("note", "")],
            &[("answer", "no"), ("note", "12345")],
            &[("answer", "no"), ("note", "a\u{0}b")],
        ] {
            assert_eq!(fill(sent), None, "{sent:?}");
        }
    }
}
