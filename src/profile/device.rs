//! `[[device]]`: one machine, made from its profile.

use std::borrow::Cow;
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_connector::{DeviceSpec, Secrets, TagSpec};

use super::layers;
use super::read::Profile;
use super::walk::{Except, Walked};
use super::{budget, check_name, params};
use crate::alike::Alike;
use crate::connectors;
use crate::device::{Access, Device, Tag};
use crate::diagnostic::{Faults, Sources, Span};
use crate::document::{Context, Fields, Instance, Table, Trace};

/// Keys of `[[device]]` in a profile.
pub const KEYS: [&str; 11] = [
    "name",
    "endpoint",
    "backup",
    "location",
    "params",
    "except",
    "budget",
    "trust",
    "allow_insecure",
    "tags",
    "scan",
];

/// Levels of `location`.
const LOCATION_LEVELS_MAX: usize = 8;

/// Longest level of `location` and longest endpoint, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// Most patterns of `except`.
const EXCEPT_MAX: usize = 200;

/// What devices get from their surroundings.
#[derive(Clone)]
pub struct Environment {
    /// Where secrets named in profiles are found.
    pub secrets: Arc<dyn Secrets>,
    /// Folder in which every device gets its own.
    pub state_directory: PathBuf,
    /// Most devices of the box.
    pub devices_max: usize,
    /// Most published tags of the box.
    pub tags_max: usize,
    /// One tag of which it is written down where its keys come from.
    pub trace: Option<Arc<Trace>>,
}

/// Opens a `[[device]]` table; in a device file it names its profile.
pub fn open<'a>(ctx: &'a Context<'a>, table: &'a Table, span: Span, names_profile: bool) -> Fields<'a> {
    let name = match table.get("name").map(|entry| &entry.node.content) {
        Some(crate::document::Content::Text(name)) => format!("device `{name}`"),
        _ => "[[device]]".to_owned(),
    };
    let mut keys = KEYS.to_vec();
    // What it changes of the protocol's table; another protocol's is refused when it is laid over.
    keys.extend(connectors::all().iter().map(|protocol| protocol.name()));
    keys.push("profile");
    let device = Fields::open(ctx, name, table, span, &keys);
    if !names_profile && device.has("profile") {
        let help = "the devices of this file are of its own profile: remove the line";
        device.refuse("P0102", "profile", "`profile` is not for the devices of a profile's own file", help);
    }
    device
}

/// The name, checked; required.
pub fn name(device: &Fields<'_>) -> Option<(String, Span)> {
    device.require("name", "unique on the box, for example name = \"press-3\"");
    let text = device.text("name")?;
    check_name(device, "a device's name", &text.text, text.span).then_some((text.text, text.span))
}

/// What making devices has come to so far.
#[derive(Default)]
pub struct Made {
    /// Tags that were looked at.
    pub tags_read: usize,
    raws: Alike<TagSpec>,
    tags: Alike<Tag>,
}

/// Makes the device, or reports why it cannot be made.
pub fn build(
    sources: &Sources,
    faults: &Faults,
    environment: &Environment,
    device: &Fields<'_>,
    name: &str,
    profile: &Profile<'_>,
    made: &mut Made,
) -> Option<Device> {
    device.require("endpoint", "address of the device, for example endpoint = \"192.168.10.33\"");
    device.require("location", "where it stands, for example location = \"Werk1/Presswerk/Linie3/Presse3\"");
    let endpoint = endpoint(device);
    let location = location(device);
    let trust = trust(device);
    let allow_insecure = device.bool("allow_insecure").unwrap_or(false);
    let (params, given) = params::of_device(&profile.params, device.ctx, device);
    let except = except(device);
    let source = device.ctx.source.at_line(device.span.start);
    let instance = Instance { device: name.to_owned(), file: device.ctx.file, source: source.clone(), given };
    let plain = Context::new(profile.file, sources.files.get(profile.file)?, faults)
        .with_layers(profile.layers.iter().copied())
        .traced(environment.trace.as_deref())
        .filling(&params, Some(&instance));
    let (table, ctx) = laid_out(sources, device, profile, plain)?;
    let mut walked = profile.walk(&ctx, &table, &except, !device.ctx.failed())?;
    made.tags_read += walked.read;
    walked.drop_unused_scans();
    if !walked.incomplete {
        warn_unused(device, &ctx, &except);
    }
    let protocol = Arc::clone(profile.protocol.as_ref()?);
    let Walked { options, sound_options, scans, raws, tags, verify, .. } = walked;
    let spec = DeviceSpec {
        name: name.to_owned(),
        endpoint: endpoint?,
        options,
        scans,
        tags: made.raws.one(raws),
        trust,
        allow_insecure,
        secrets: Arc::clone(&environment.secrets),
        state_directory: environment.state_directory.join("devices").join(name),
    };
    let access = Access {
        backup: budget::backup(device, protocol.as_ref(), &spec),
        budget: budget::read(device).or(profile.budget(&ctx)),
        line: budget::line(protocol.as_ref(), &spec),
    };
    complain(device, &ctx, (profile, &table), &spec, sound_options);
    let location = location?;
    if !profile.sound || ctx.failed() || device.ctx.failed() {
        return None;
    }
    Some(Device {
        name: name.to_owned(),
        path: format!("{}/{name}", location.join("/")),
        location,
        profile: profile.name.clone(),
        profile_version: profile.version.clone(),
        title: profile.title.clone(),
        protocol,
        spec,
        tags: made.tags.one(tags),
        verify,
        standby_for: String::new(),
        access,
        source,
    })
}

/// The tables of the profile with what the device changes, and the walk over them.
fn laid_out<'a>(
    sources: &'a Sources,
    device: &Fields<'_>,
    profile: &'a Profile<'a>,
    plain: Context<'a>,
) -> Option<(Cow<'a, Table>, Context<'a>)> {
    let protocol = profile.protocol.as_ref()?.name();
    let own = sources.files.get(device.ctx.file)?;
    Some(match layers::of_device(device, &profile.table, protocol, &plain, own) {
        Some((table, ctx)) => (Cow::Owned(table), ctx),
        None => (Cow::Borrowed(profile.table.as_ref()), plain),
    })
}

/// Complaints of the protocol, at the key they are about. What it says of the whole is of use only
/// when what it looks at is right (faulty tags are not in it); the endpoint stands for itself.
fn complain(
    device: &Fields<'_>,
    profile_ctx: &Context<'_>,
    (profile, table): (&Profile<'_>, &Table),
    spec: &DeviceSpec,
    sound_options: bool,
) {
    let Some(protocol) = &profile.protocol else { return };
    let whole = profile_ctx.is_whole() && device.ctx.is_whole() && !profile_ctx.is_open();
    let sound = sound_options && whole && !device.ctx.failed();
    for complaint in protocol.check_device(spec).into_iter().filter(|it| sound || it.key == "endpoint") {
        let message = format!("{}: {}", device.subject, complaint.message);
        let in_profile = profile.option_span(table, complaint.key).filter(|_| !device.has(complaint.key));
        match in_profile {
            Some(span) => {
                profile_ctx.report(profile_ctx.error(complaint.code, span, message).help(complaint.help));
            }
            None => device.refuse(complaint.code, complaint.key, &complaint.message, complaint.help),
        }
    }
}

fn endpoint(device: &Fields<'_>) -> Option<String> {
    let text = device.text("endpoint")?.text;
    if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        device.refuse("P0104", "endpoint", "`endpoint` is no address", "write host or host:port, or a URL");
        return None;
    }
    Some(text)
}

fn location(device: &Fields<'_>) -> Option<Vec<String>> {
    let text = device.text("location")?.text;
    let levels: Vec<String> = text.split('/').map(str::to_owned).collect();
    let fits = |level: &String| {
        level.trim() == level
            && !level.is_empty()
            && level.len() <= TEXT_BYTES_MAX
            && !level.chars().any(char::is_control)
    };
    if levels.len() > LOCATION_LEVELS_MAX || !levels.iter().all(fits) {
        let message = format!("`location` cannot be \"{}\"", text.escape_debug());
        let help = format!(
            "write up to {LOCATION_LEVELS_MAX} levels joined with /, none empty, no space around them: \
             Site/Area/Line/Cell"
        );
        device.refuse("P0143", "location", &message, help);
        return None;
    }
    Some(levels)
}

fn trust(device: &Fields<'_>) -> Option<String> {
    let text = device.text("trust")?.text;
    let digits = text.strip_prefix("sha256:").unwrap_or("");
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let message = format!("`trust` is no fingerprint ({} hex digits found)", digits.len());
        let help = "write sha256: and the 64 hex digits of the server's certificate";
        device.refuse("P0104", "trust", &message, help);
        return None;
    }
    Some(text)
}

fn except(device: &Fields<'_>) -> Except {
    let mut patterns = device.list("except").unwrap_or_default();
    if patterns.len() > EXCEPT_MAX {
        let message = format!("`except` has {} patterns, at most {EXCEPT_MAX} are possible", patterns.len());
        device.refuse("P0131", "except", &message, "use `*`, or write another profile");
        patterns.clear();
    }
    Except(patterns.into_iter().map(|pattern| (pattern.text, pattern.span, Cell::new(false))).collect())
}

fn warn_unused(device: &Fields<'_>, profile: &Context<'_>, except: &Except) {
    for (pattern, span, used) in &except.0 {
        if !used.get() && !profile.may_be_lost(pattern) {
            let message = format!("{}: no tag matches \"{pattern}\"", device.subject);
            let fault = device.ctx.warning("P0142", *span, message);
            device.ctx.report(fault.help("`except` takes paths such as station.4.die_temp or station.4.*"));
        }
    }
}
