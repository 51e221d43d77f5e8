//! What every reader of one file needs: its text, its parameters, and where faults go.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use super::fill::{self, FillFault, Filled, Param, Params};
use super::nearest;
use super::trace::Trace;
use super::tree::{Content, Node, Table};
use crate::diagnostic::{Diagnostic, Faults, Place, Severity, Source, Span};

/// Longest line that is searched for parameters.
const LINE_BYTES_MAX: usize = 4096;

/// The device for which a profile is being walked.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Name of the device.
    pub device: String,
    /// Number of the file in which it stands.
    pub file: usize,
    /// `file:line` of its `[[device]]`.
    pub source: String,
    /// The parameters it gives, with their values.
    pub given: Vec<(String, String)>,
}

impl Instance {
    /// "in press-4 (line 92), db = 110", with the parameters that stand in `line`.
    fn note(&self, file: usize, line: &str) -> String {
        let place = match self.source.rsplit_once(':') {
            Some((_, number)) if file == self.file => format!("line {number}"),
            _ => self.source.clone(),
        };
        let mut note = format!("in {} ({place})", self.device);
        // A line this long was written by no person, and there may be many faults in it.
        let line = if line.len() > LINE_BYTES_MAX { "" } else { line };
        for (name, value) in self.given.iter().filter(|(name, _)| line.contains(&format!("{{{name}}}"))) {
            note.push_str(&format!(", {name} = {value}"));
        }
        note
    }
}

/// A further file from which a part of the tree comes.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Spans from this byte on belong to it; its own bytes are counted from there.
    pub start: usize,
    /// Number of the file.
    pub file: usize,
    /// The file.
    pub source: &'a Source,
    /// It is what a `[[device]]` changes; else a profile that is extended.
    pub of_device: bool,
}

/// One walk over one file, or over a tree that was put together from several.
pub struct Context<'a> {
    /// Number of the file.
    pub file: usize,
    /// The file.
    pub source: &'a Source,
    /// Files whose entries stand in the tree beside those of `file`, by their first byte.
    layers: Rc<[Layer<'a>]>,
    trace: Option<&'a Trace>,
    faults: &'a Faults,
    params: Option<&'a Params>,
    instance: Option<&'a Instance>,
    failed: Cell<bool>,
}

impl<'a> Context<'a> {
    /// A walk in which `{…}` is plain text.
    pub fn new(file: usize, source: &'a Source, faults: &'a Faults) -> Self {
        Self {
            file,
            source,
            layers: Rc::from([]),
            trace: None,
            faults,
            params: None,
            instance: None,
            failed: Cell::new(false),
        }
    }

    /// The same file, walked with these parameters, for a device or for the profile itself.
    pub fn filling(&self, params: &'a Params, instance: Option<&'a Instance>) -> Self {
        Self { params: Some(params), instance, failed: Cell::new(false), ..self.again() }
    }

    /// A part of this walk with other parameters; [`Context::absorb`] adds its errors.
    pub fn with_params(&self, params: &'a Params) -> Self {
        Self { params: Some(params), failed: Cell::new(false), ..self.again() }
    }

    /// The same walk over a tree into which `layer` was merged, its spans moved on to
    /// [`Context::free`].
    #[must_use]
    pub fn with_layers(&self, layers: impl IntoIterator<Item = Layer<'a>>) -> Self {
        let layers: Vec<Layer<'a>> = self.layers.iter().copied().chain(layers).collect();
        Self { layers: layers.into(), ..self.again() }
    }

    /// The same walk, writing down where the keys of tags come from.
    #[must_use]
    pub fn traced(&self, trace: Option<&'a Trace>) -> Self {
        Self { trace, ..self.again() }
    }

    fn again(&self) -> Self {
        Self { layers: Rc::clone(&self.layers), failed: Cell::new(self.failed()), ..*self }
    }

    /// The files from which parts of the tree come, beside the first.
    pub fn layers(&self) -> &[Layer<'a>] {
        &self.layers
    }

    /// The first byte that a further layer may have.
    pub fn free(&self) -> usize {
        let last = self.layers.last().map_or((0, self.source), |layer| (layer.start, layer.source));
        // One more: an empty span at the end of a file still belongs to it.
        last.0 + last.1.text.len() + 1
    }

    /// Where keys come from is written down here.
    pub fn trace(&self) -> Option<&'a Trace> {
        self.trace
    }

    /// The device for which this walk is.
    pub fn instance(&self) -> Option<&'a Instance> {
        self.instance
    }

    /// The file of a span, and the span in it.
    fn locate(&self, span: Span) -> (usize, &'a Source, Span) {
        match self.layers.iter().rev().find(|layer| span.start >= layer.start) {
            None => (self.file, self.source, span),
            Some(Layer { start, file, source, .. }) => {
                (*file, source, Span { start: span.start - start, end: span.end.saturating_sub(*start) })
            }
        }
    }

    /// The text of a span as it stands in its file.
    pub fn slice(&self, span: Span) -> &'a str {
        let (_, source, span) = self.locate(span);
        source.slice(span)
    }

    /// Counts the errors of a part for the whole. True when there were any.
    pub fn absorb(&self, part: &Self) -> bool {
        self.failed.set(self.failed() || part.failed());
        part.failed()
    }

    /// True when some parameter has no value: what is not found may depend on it.
    pub fn is_open(&self) -> bool {
        self.params.is_some_and(|params| params.values().any(|param| *param == Param::Unknown))
    }

    /// True when something of this name may stand in a part of the file that could not be read:
    /// saying that it does not exist could be wrong.
    pub fn may_be_lost(&self, name: &str) -> bool {
        self.files().any(|(file, source)| self.faults.may_be_lost(file, source, name))
    }

    /// True when all of the file could be read.
    pub fn is_whole(&self) -> bool {
        self.files().all(|(file, _)| self.faults.is_whole(file))
    }

    /// True when the key stands at the beginning of a line that could not be read.
    pub fn is_broken_key(&self, key: &str) -> bool {
        self.files().any(|(file, source)| self.faults.is_broken_key(file, source, key))
    }

    /// The parameters of this walk.
    pub fn params(&self) -> Option<&'a Params> {
        self.params
    }

    /// `file:line` of a place.
    pub fn at_line(&self, span: Span) -> String {
        let (_, source, span) = self.locate(span);
        source.at_line(span.start)
    }

    fn files(&self) -> impl Iterator<Item = (usize, &'a Source)> {
        std::iter::once((self.file, self.source)).chain(self.layers.iter().map(|it| (it.file, it.source)))
    }

    /// A place in this file.
    pub fn place(&self, span: Span) -> Place {
        let (file, _, span) = self.locate(span);
        Place { file, span }
    }

    /// An error in this file, to be completed and given to [`Context::report`].
    pub fn error(&self, code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.place(span), message)
    }

    /// A warning in this file.
    pub fn warning(&self, code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(code, self.place(span), message)
    }

    /// Reports a fault found on this walk.
    pub fn report(&self, mut diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.failed.set(true);
        }
        if let Some(instance) = self.instance {
            diagnostic.device = Some(instance.device.clone());
            let Place { file, span } = diagnostic.place;
            let found = self.files().find(|(number, _)| *number == file);
            let line = found.map_or("", |(_, source)| {
                source.slice(Span { start: source.line_start(span.start), end: source.line_end(span.start) })
            });
            diagnostic.notes.push(instance.note(file, line));
        }
        self.faults.add(diagnostic);
    }

    /// True when an error was found on this walk, also one that had been reported before.
    pub fn failed(&self) -> bool {
        self.failed.get()
    }

    /// The value of a node with its parameters filled in. `None` when a parameter has no value
    /// (then nothing can be said) or does not exist (then it is reported).
    pub fn resolve<'n>(&self, subject: &str, node: &'n Node) -> Option<Resolved<'n>> {
        Some(match &node.content {
            Content::Int(number) => Resolved::Int(*number),
            Content::Number(number) => Resolved::Number(*number),
            Content::Bool(yes) => Resolved::Bool(*yes),
            Content::Array(_) | Content::Table(_) | Content::Date | Content::TooLarge => {
                Resolved::Other(node.content.kind())
            }
            Content::Text(template) => {
                let typed = self.params.zip(fill::only_param(template));
                match typed.and_then(|(params, name)| params.get(name)) {
                    Some(Param::Int(number)) => Resolved::Int(*number),
                    Some(Param::Number(number)) => Resolved::Number(*number),
                    Some(Param::Text(_) | Param::Unknown) | None => {
                        Resolved::Text(self.text(subject, node, template)?)
                    }
                }
            }
        })
    }

    /// The text of a node that is wanted as text: numbers that come from a parameter are written
    /// out. `None` as for [`Context::resolve`].
    pub fn text(&self, subject: &str, node: &Node, template: &str) -> Option<TextValue> {
        let Some(params) = self.params else {
            return Some(TextValue::new(Filled::plain(template), template, node.span));
        };
        match fill::fill(template, params) {
            Ok(filled) => Some(TextValue::new(filled, template, node.span)),
            Err(FillFault::Unknown) => None,
            Err(FillFault::Undeclared(name, range)) => {
                if self.may_be_lost(&name) {
                    return None;
                }
                let span = inside(self, node.span, template, range);
                let fault = self.error("P0106", span, format!("{subject}: there is no parameter `{name}`"));
                let known: Vec<&str> = params.keys().map(String::as_str).collect();
                self.report(fault.help(match nearest(&name, known.iter().copied()) {
                    Some(near) => format!("did you mean {{{near}}}?"),
                    None if known.is_empty() => format!("declare it: [params] {name} = {{ type = \"int\" }}"),
                    None => format!("[params] in this file has: {}", known.join(", ")),
                }));
                None
            }
        }
    }
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved<'n> {
    /// Text.
    Text(TextValue),
    /// Whole number.
    Int(i64),
    /// Number with decimals.
    Number(f64),
    /// Yes or no.
    Bool(bool),
    /// Anything else, in words.
    Other(&'n str),
}

impl Resolved<'_> {
    /// The kind in words, for "this is …".
    pub fn kind(&self) -> &str {
        match self {
            Self::Text(_) => "a text",
            Self::Int(_) => "a whole number",
            Self::Number(number) if !number.is_finite() => "not a finite number",
            Self::Number(_) => "a number with decimals",
            Self::Bool(_) => "true or false",
            Self::Other(kind) => kind,
        }
    }

    /// As a number; `None` when it is none.
    #[allow(clippy::cast_precision_loss)] // limits and scales over 2^53 lose their last digits
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

/// A text of the file, parameters filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextValue {
    /// The text.
    pub text: String,
    /// The whole value in the file, quotes included.
    pub span: Span,
    filled: Filled,
    template: String,
}

impl TextValue {
    fn new(filled: Filled, template: &str, span: Span) -> Self {
        Self { text: filled.text.clone(), span, filled, template: template.to_owned() }
    }

    /// Where these bytes of the text stand in the file; the whole value where that cannot be said.
    pub fn span_of(&self, ctx: &Context<'_>, range: Range<usize>) -> Span {
        if range.start > self.text.len() || range.end > self.text.len() {
            return self.span;
        }
        inside(ctx, self.span, &self.template, self.filled.template(range))
    }

    /// A help text that proposes this text with another end, with the parameters put back.
    pub fn restore(&self, help: &str) -> String {
        self.filled.restore(help, &self.template)
    }
}

/// Bytes of a string as a place: behind the opening quote, as long as nothing is escaped.
fn inside(ctx: &Context<'_>, span: Span, text: &str, range: Range<usize>) -> Span {
    let written = ctx.slice(span);
    let plain = written.len() == text.len() + 2 && written.get(1..written.len() - 1) == Some(text);
    if plain && range.end <= text.len() {
        Span::from(span.start + 1 + range.start..span.start + 1 + range.end)
    } else {
        span
    }
}

/// A table that is not there.
pub static EMPTY: Table = Table { entries: Vec::new() };
