//! One profile file: header, parameters, and its walk without any device.

use std::borrow::Cow;
use std::sync::Arc;

use forebay_connector::Protocol;

use super::params::{self, ParamDeclaration};
use super::walk::{self, Except, Walked};
use super::{budget, check_name};
use crate::connectors;
use crate::device::{Budget, Text};
use crate::diagnostic::Span;
use crate::document::{Context, EMPTY, FORMAT_VERSION, Fields, Layer, Table, nearest};

/// Tables of a profile, beside that of its protocol.
pub const ROOT_KEYS: [&str; 11] = [
    "forebay", "profile", "params", "scan", "defaults", "tags", "enum", "bits", "verify", "budget", "device",
];

/// Keys of `[profile]`.
pub const HEADER_KEYS: [&str; 9] =
    ["name", "extends", "title", "vendor", "model", "version", "protocol", "source", "checked"];

/// A profile, sound enough to be used by devices.
pub struct Profile<'a> {
    /// Name that devices refer to.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Number of its file.
    pub file: usize,
    /// Title for people.
    pub title: Text,
    /// Version of the profile.
    pub version: String,
    /// Its protocol; `None` when there is no such protocol (reported).
    pub protocol: Option<Arc<dyn Protocol>>,
    /// Declared parameters.
    pub params: Vec<ParamDeclaration>,
    /// False when the file itself has errors: no device can use it.
    pub sound: bool,
    /// All its tables, those of the profiles it extends included.
    pub table: Cow<'a, Table>,
    /// The files these come from, beside its own.
    pub layers: Vec<Layer<'a>>,
}

/// Checks `forebay = 1`.
pub fn check_version(root: &Fields<'_>) {
    if root.has("forebay") {
        let version = root.int("forebay", i64::MIN..=i64::MAX);
        if version.is_some_and(|version| version != FORMAT_VERSION) {
            let help = format!("this program reads forebay = {FORMAT_VERSION}");
            root.refuse("P0005", "forebay", "this version of the file format is unknown", help);
        }
    } else {
        let fault = root.ctx.error("P0005", root.span, format!("{} does not say its format", root.subject));
        root.ctx.report(fault.help(format!("begin it with forebay = {FORMAT_VERSION}")));
    }
}

impl<'a> Profile<'a> {
    /// Reads a file that has `[profile]`. `syntax` is false when the text itself had faults.
    ///
    /// `None` when it has no usable name: nothing can refer to it.
    pub fn read(ctx: &Context<'a>, table: Cow<'a, Table>, syntax: bool) -> Option<Self> {
        let root = Fields::any(ctx, "the profile", &table, Span::default());
        check_version(&root);
        let header = root.table("profile", "[profile]", &HEADER_KEYS)?;
        for (key, what) in [
            ("name", "devices refer to the profile by it"),
            ("version", "yours to count, for example version = \"1.0.0\""),
            ("protocol", "how the device is read, for example protocol = \"modbus\""),
            ("source", "say where the numbers come from: manual and page, or export and date"),
        ] {
            // What it extends has them.
            if !(header.has("extends") && matches!(key, "protocol" | "source")) {
                header.require(key, what);
            }
        }
        for key in ["extends", "vendor", "model", "source", "checked"] {
            header.text(key);
        }
        let protocol = protocol(&header);
        let version = header.text("version").map(|text| text.text).unwrap_or_default();
        let title = header.languages("title");
        let params = params::declarations(&root);
        let name = header.text("name");
        if let Some(name) = &name {
            check_name(&header, "the profile's name", &name.text, name.span);
        }
        let mut profile = Self {
            name_span: name.as_ref().map_or(Span::default(), |name| name.span),
            title: title.unwrap_or_else(|| Text::plain(name.as_ref().map_or("", |name| &name.text))),
            name: name.map(|name| name.text)?,
            file: ctx.file,
            version,
            protocol,
            params,
            sound: syntax,
            layers: ctx.layers().to_vec(),
            table: Cow::Borrowed(&EMPTY),
        };
        profile.table = table;
        profile.check_keys(ctx);
        let defaults = params::defaults(&profile.params);
        profile.sound &= !ctx.failed();
        let walk = ctx.filling(&defaults, None);
        profile.walk(&walk, &profile.table, &Except::default(), true);
        profile.budget(&walk);
        Some(profile)
    }

    fn check_keys(&self, ctx: &Context<'_>) {
        let own = self.protocol.as_ref().map(|protocol| protocol.name());
        let mut keys = ROOT_KEYS.to_vec();
        match own {
            Some(own) => keys.push(own),
            None => keys.extend(connectors::all().iter().map(|protocol| protocol.name())),
        }
        Fields::open(ctx, "the profile", &self.table, Span::default(), &keys);
    }

    /// Walks `table`, which is [`Profile::table`] or that with what a device changes, with the
    /// parameters of `ctx`. `sound` is false when what is laid over it has faults.
    pub fn walk(&self, ctx: &Context<'_>, table: &Table, except: &Except, sound: bool) -> Option<Walked> {
        let protocol = self.protocol.as_ref()?;
        let root = Fields::any(ctx, "the profile", table, Span::default());
        let sound = sound && self.sound && !ctx.failed();
        Some(walk::walk(&root, protocol.as_ref(), except, sound))
    }

    /// The budget of its devices, with the parameters of `ctx`.
    pub fn budget(&self, ctx: &Context<'_>) -> Budget {
        budget::read(&Fields::any(ctx, "the profile", &self.table, Span::default()))
    }

    /// Where a key of the protocol's table stands.
    pub fn option_span(&self, table: &Table, key: &str) -> Option<Span> {
        let table = table.get(self.protocol.as_ref()?.name())?;
        match &table.node.content {
            crate::document::Content::Table(options) => options.get(key).map(|entry| entry.node.span),
            _ => None,
        }
    }
}

fn protocol(header: &Fields<'_>) -> Option<Arc<dyn Protocol>> {
    let text = header.text("protocol")?;
    let found = connectors::by_name(&text.text);
    if found.is_none() {
        let all = connectors::all();
        let names: Vec<&str> = all.iter().map(|protocol| protocol.name()).collect();
        let help = match nearest(&text.text, names.iter().copied()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("protocols are: {}", names.join(", ")),
        };
        header.refuse("P0115", "protocol", &format!("there is no protocol \"{}\"", text.text), help);
    }
    found
}
