//! From files to devices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::budget;
use super::device::{self, Environment, Made};
use super::layers;
use super::read::{Profile, check_version};
use crate::device::Device;
use crate::diagnostic::{Diagnostic, Faults, Place, Sources, Span};
use crate::document::{Context, Fields, Table, nearest};
use crate::plan;

/// Tags that are looked at in one run, as a multiple of those a box may have; refused devices
/// count. A small file with many devices and a large `repeat` would otherwise take hours.
const TAGS_READ_FACTOR: usize = 2;

/// One profile or device file, read.
pub struct Input {
    /// Number of the file.
    pub file: usize,
    /// Its content.
    pub table: Table,
    /// False when the text had syntax faults: nothing in it is used, but all of it is checked.
    pub syntax: bool,
    /// Comes with the program: any other file may replace it, and its devices are examples.
    pub builtin: bool,
}

/// What the files gave.
#[derive(Default)]
pub struct Instances {
    /// Devices without faults, in the order of the files.
    pub devices: Vec<Arc<Device>>,
    /// Devices that cannot run as written.
    pub refused: Vec<Refused>,
}

/// A device that cannot run as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name, or empty when it has no usable one.
    pub name: String,
    /// `file:line` of its `[[device]]`.
    pub source: String,
}

/// Reads all profiles and makes all devices; every fault goes to `faults`.
pub fn load(sources: &Sources, inputs: &[Input], faults: &Faults, environment: &Environment) -> Instances {
    let contexts: Vec<Option<Context<'_>>> = inputs
        .iter()
        .map(|input| Some(Context::new(input.file, sources.files.get(input.file)?, faults)))
        .collect();
    let mut library = Library::default();
    let mut own: Vec<Option<String>> = Vec::new();
    for (index, (input, ctx)) in inputs.iter().zip(&contexts).enumerate() {
        let Some(ctx) = ctx else { continue };
        own.push(match input.table.get("profile") {
            Some(_) => {
                let stacked = layers::stack(index, inputs, &contexts);
                let profile = stacked.and_then(|it| Profile::read(&it.ctx, it.table, it.syntax));
                library.nameless |= profile.is_none();
                profile.map(|profile| library.add(profile, input.builtin, faults))
            }
            None if input.table.get("tags").is_some() => {
                without_header(ctx, &input.table);
                None
            }
            None => {
                let root = Fields::open(
                    ctx,
                    "the device file",
                    &input.table,
                    Span::default(),
                    &["forebay", "device"],
                );
                check_version(&root);
                None
            }
        });
    }
    let mut loading = Loading {
        sources,
        faults,
        environment,
        library,
        names: BTreeMap::new(),
        found: Instances::default(),
        tags: 0,
        made: Made::default(),
    };
    for ((input, ctx), own) in inputs.iter().zip(&contexts).zip(&own) {
        let without_header = own.is_none() && input.table.get("tags").is_some();
        if let (Some(ctx), false) = (ctx, input.builtin || without_header) {
            loading.devices(ctx, input, own.as_deref());
        }
    }
    budget::share_lines(&mut loading.found.devices);
    loading.doubt();
    loading.found
}

/// A file with tags is a profile; without its header nothing else can be said about it.
fn without_header(ctx: &Context<'_>, table: &Table) {
    let misspelt = table.entries.iter().find(|entry| nearest(&entry.key, ["profile"]).is_some());
    let at = misspelt.or_else(|| table.get("tags")).map_or(Span::default(), |entry| entry.key_span);
    let fault = ctx.error("P0101", at, "the profile has no [profile]");
    ctx.report(match misspelt {
        Some(_) => fault.help("did you mean `profile`?"),
        None => fault.help("write [profile] with name, version, protocol and source"),
    });
}

/// Profiles by name.
#[derive(Default)]
struct Library<'a> {
    profiles: BTreeMap<String, (Profile<'a>, bool)>,
    /// A profile has no name that could be read: it may be the one that a device asks for.
    nameless: bool,
}

impl<'a> Library<'a> {
    /// Adds a profile under its name and returns the name; replaces a built-in one.
    fn add(&mut self, profile: Profile<'a>, builtin: bool, faults: &Faults) -> String {
        let name = profile.name.clone();
        match self.profiles.get(&name) {
            Some((first, false)) => {
                let place = |profile: &Profile<'_>| Place { file: profile.file, span: profile.name_span };
                let message = format!("two profiles are named `{name}`");
                faults.add(
                    Diagnostic::error("P0145", place(&profile), message)
                        .label("second")
                        .also(place(first), "first")
                        .help("rename one of them, or remove it"),
                );
            }
            _ => {
                self.profiles.insert(name.clone(), (profile, builtin));
            }
        }
        name
    }
}

struct Loading<'a> {
    sources: &'a Sources,
    faults: &'a Faults,
    environment: &'a Environment,
    library: Library<'a>,
    names: BTreeMap<String, Place>,
    found: Instances,
    tags: usize,
    made: Made,
}

impl Loading<'_> {
    fn devices(&mut self, ctx: &Context<'_>, input: &Input, own: Option<&str>) {
        let is_profile = input.table.get("profile").is_some();
        let root = Fields::any(ctx, "the file", &input.table, Span::default());
        for (table, span) in root.tables("device") {
            // Its own context, so that a fault of one device is not a fault of the next.
            let ctx = Context::new(ctx.file, ctx.source, self.faults);
            let fields = device::open(&ctx, table, span, !is_profile);
            let name = device::name(&fields);
            let refused = Refused {
                name: name.as_ref().map(|(name, _)| name.clone()).unwrap_or_default(),
                source: ctx.source.at_line(span.start),
            };
            match self.device(&ctx, &fields, name, is_profile, own).filter(|_| input.syntax) {
                Some(device) => self.keep(&ctx, &fields, device, refused),
                None => self.found.refused.push(refused),
            }
        }
    }

    /// Warns of what the devices cannot keep up with, or should not be burdened with.
    fn doubt(&self) {
        let devices = &self.found.devices;
        let coded = plan::certain(devices).into_iter().map(|warning| ("P0181", warning));
        let more = plan::too_many_connections(devices).into_iter().map(|warning| ("P0182", warning));
        for (code, warning) in coded.chain(more) {
            if let Some(place) = self.names.get(&warning.device) {
                self.faults.add(Diagnostic::warning(code, *place, warning.message).help(warning.help));
            }
        }
    }

    fn device(
        &mut self,
        ctx: &Context<'_>,
        fields: &Fields<'_>,
        name: Option<(String, Span)>,
        is_profile: bool,
        own: Option<&str>,
    ) -> Option<Device> {
        let unique = name.as_ref().is_none_or(|(name, span)| self.unique(ctx, fields, name, *span));
        let profile = if is_profile { own.map(str::to_owned) } else { self.profile_of(fields) };
        let (profile, _) = self.library.profiles.get(&profile?)?;
        // A name that is missing has been reported; the rest is checked all the same.
        let name = name.map_or("?".to_owned(), |(name, _)| name);
        if self.made.tags_read > TAGS_READ_FACTOR * self.environment.tags_max {
            let message = format!("{}: the devices before it have too many tags and faults", fields.subject);
            let fault = ctx.error("P0131", fields.span, message);
            ctx.report(fault.help("mend those first"));
            return None;
        }
        let made = &mut self.made;
        let device = device::build(self.sources, self.faults, self.environment, fields, &name, profile, made);
        device.filter(|_| unique)
    }

    fn unique(&mut self, ctx: &Context<'_>, fields: &Fields<'_>, name: &str, span: Span) -> bool {
        if let Some(first) = self.names.get(name) {
            let message = format!("{} exists already", fields.subject);
            let fault = ctx.error("P0140", span, message).label("second").also(*first, "first");
            ctx.report(fault.help("names are unique on the box: rename one of the two"));
            return false;
        }
        self.names.insert(name.to_owned(), ctx.place(span));
        true
    }

    fn profile_of(&self, fields: &Fields<'_>) -> Option<String> {
        fields.require("profile", "the profile of its type, for example profile = \"eastron-sdm630\"");
        let text = fields.text("profile")?;
        if self.library.profiles.contains_key(&text.text) {
            return Some(text.text);
        }
        if self.library.nameless {
            return None;
        }
        let names = || self.library.profiles.keys().map(String::as_str);
        let help = match nearest(&text.text, names()) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => format!("profiles are: {}", names().collect::<Vec<_>>().join(", ")),
        };
        fields.refuse("P0114", "profile", &format!("there is no profile \"{}\"", text.text), help);
        None
    }

    /// Takes a device on, within the limits of the box.
    fn keep(&mut self, ctx: &Context<'_>, fields: &Fields<'_>, device: Device, refused: Refused) {
        let Environment { devices_max, tags_max, .. } = *self.environment;
        let over = if self.found.devices.len() >= devices_max {
            Some(format!("the box has {devices_max} devices already"))
        } else if self.tags + device.tags.len() > tags_max {
            Some(format!("with it the box would have more than {tags_max} tags"))
        } else {
            None
        };
        if let Some(message) = over {
            let fault = ctx.error("P0131", fields.span, format!("{}: {message}", fields.subject));
            ctx.report(
                fault.help("raise the limit under [limits] in forebay.toml if the box is large enough"),
            );
            self.found.refused.push(refused);
            return;
        }
        self.tags += device.tags.len();
        self.found.devices.push(Arc::new(device));
    }
}
