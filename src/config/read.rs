//! Walks the tree of `forebay.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kafka::kafka;
use super::keys;
use super::learn::learn;
use super::model_options::model_options;
use super::standby::standby;
use super::{Config, Edge, Journal, Lane, Learn, Limits, Log, Model, Paths, Status};
use crate::diagnostic::Span;
use crate::document::{Context, FORMAT_VERSION, Fields, Table};
use crate::lane::{SKIP_UNREADABLE_AFTER, WhenFull};

/// Languages of texts and pages.
const LANGUAGES: [&str; 2] = ["en", "de"];

/// Most entries of a list of brokers, folders, models or devices.
const LIST_MAX: usize = 500;

/// Most names of the box in the address of its page.
const HOST_NAMES_MAX: usize = 32;

/// What was read, with the places that later checks need.
pub struct Read {
    /// The configuration; `None` when it has errors.
    pub config: Option<Config>,
    /// Folders and credentials, also when the rest has errors, so that profiles and devices are
    /// checked in the same run.
    pub paths: Paths,
    /// Folders written in the file, which must exist: kind, folder, place.
    pub written_folders: Vec<(PathBuf, Span)>,
    /// What `[[model]]` names, which must be there.
    pub model_names: ModelNames,
    /// Devices that `[standby]` names, which must be there.
    pub standby_devices: Vec<(String, Span)>,
    /// Limits, defaults where they are faulty.
    pub limits: Limits,
}

/// Names in `[[model]]`, with their places.
#[derive(Default)]
pub struct ModelNames {
    /// Models.
    pub models: Vec<(String, Span)>,
    /// Devices, each with the model that is to watch it.
    pub devices: Vec<(String, Span, String)>,
    /// What `[[learn]]` says, with the place of the device.
    pub learned: Vec<(Learn, Span)>,
}

/// Reads the file whose relative paths start at `base`.
pub fn read(ctx: &Context<'_>, table: &Table, base: &Path) -> Read {
    let root = Fields::open(ctx, "forebay.toml", table, Span::default(), &keys::ROOT);
    match root.int("forebay", i64::MIN..=i64::MAX) {
        Some(FORMAT_VERSION) => {}
        Some(_) => {
            let help = format!("this program reads forebay = {FORMAT_VERSION}");
            root.refuse("P0005", "forebay", "this version of the file format is unknown", help);
        }
        None if root.has("forebay") => {}
        None => {
            let fault = ctx.error("P0005", root.span, "forebay.toml does not say its format");
            ctx.report(fault.help(format!("begin it with forebay = {FORMAT_VERSION}")));
        }
    }
    let mut written_folders = Vec::new();
    let paths = paths(&root, base, &mut written_folders);
    let limits = limits(&root);
    let mut model_names = ModelNames::default();
    let edge = edge(&root);
    let kafka = kafka(&root, base);
    let journal = journal(&root, base, &paths.state);
    let telemetry = telemetry(&root);
    let events = events(&root);
    let language = edge.as_ref().map_or("en", |edge| edge.language.as_str());
    let status = status(&root, language);
    let log = log(&root);
    let models = models(&root, &mut model_names);
    let learn = learn(&root, &mut model_names);
    let model_options = model_options(&root, base);
    let mut standby_devices = Vec::new();
    let standby = standby(&root, &mut standby_devices);
    let config = edge.zip(kafka).filter(|_| !ctx.failed()).map(|(edge, kafka)| Config {
        edge,
        kafka,
        journal,
        telemetry,
        events,
        limits: limits.clone(),
        status,
        log,
        paths: paths.clone(),
        models,
        learn,
        model_options,
        standby,
    });
    Read { config, paths, written_folders, model_names, standby_devices, limits }
}

fn days(count: u64) -> Duration {
    seconds(count * 24 * 3600)
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// An id that becomes part of topics, transactional ids and paths.
pub(super) fn id(fields: &Fields<'_>, key: &str, what: &str) -> Option<String> {
    fields.require(key, what);
    let text = fields.text(key)?.text;
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !fits {
        let message = format!("`{key}` cannot be \"{}\"", text.escape_debug());
        fields.refuse("C0207", key, &message, "use 1 to 64 letters (a to z, A to Z), digits, _, - and .");
        return None;
    }
    Some(text)
}

fn edge(root: &Fields<'_>) -> Option<Edge> {
    root.require("edge", "write [edge] with id and site: who this box is");
    let fields = root.table("edge", "[edge]", &keys::EDGE)?;
    let id_text = id(&fields, "id", "a name for this box, unique among all that write to the same Kafka");
    let site = id(&fields, "site", "the plant this box stands in");
    let name = fields.text("name").map(|text| text.text);
    let language = fields.choice("language", &LANGUAGES).unwrap_or("en").to_owned();
    let (id, site) = (id_text?, site?);
    Some(Edge { name: name.unwrap_or_else(|| id.clone()), id, site, language })
}

pub(super) fn too_many(fields: &Fields<'_>, key: &str, count: usize) {
    if count > LIST_MAX {
        fields.refuse(
            "P0104",
            key,
            &format!("`{key}` has {count} entries, at most {LIST_MAX} are possible"),
            "leave some out",
        );
    }
}

fn journal(root: &Fields<'_>, base: &Path, state: &Path) -> Journal {
    let fields = root.table("journal", "[journal]", &keys::JOURNAL);
    let fields = fields.as_ref();
    let directory = fields.and_then(|it| it.text("directory")).map(|path| base.join(path.text));
    let interval =
        fields.and_then(|it| it.duration("sync_interval", Duration::from_millis(10)..=seconds(60)));
    let sync = fields.and_then(|it| it.size_bytes("sync_size", 4096..=16 << 20));
    let segment = fields.and_then(|it| it.size_bytes("segment_size", 1 << 20..=1 << 30));
    let keep = fields.and_then(|it| it.duration("keep", Duration::ZERO..=days(3650)));
    let reserve = fields.and_then(|it| it.size_bytes("reserve", 0..=1 << 40));
    let skip = fields.and_then(|it| it.duration("skip_unreadable_after", seconds(60)..=days(3650)));
    let endurance = fields.and_then(|it| it.size_bytes("flash_endurance", 1 << 30..=1 << 60));
    Journal {
        directory: directory.unwrap_or_else(|| state.join("journal")),
        sync_interval: interval.unwrap_or(Duration::from_millis(500)),
        sync_bytes: sync.unwrap_or(4 << 20),
        segment_bytes: segment.unwrap_or(16 << 20),
        keep: keep.unwrap_or(days(7)),
        reserve_bytes: reserve.unwrap_or(256 << 20),
        skip_unreadable_after: skip.unwrap_or(SKIP_UNREADABLE_AFTER),
        flash_endurance_bytes: endurance.unwrap_or(30_000_000_000_000),
    }
}

fn telemetry(root: &Fields<'_>) -> Lane {
    let fields = lane(root, "telemetry", &keys::TELEMETRY);
    let fields = fields.as_ref();
    let interval = fields.and_then(|it| {
        let interval = it.duration("thin_interval", seconds(10)..=days(1))?;
        if interval.subsec_nanos() != 0 {
            it.refuse(
                "P0104",
                "thin_interval",
                "`thin_interval` is not whole seconds",
                "write whole seconds, for example \"1m\"",
            );
        }
        Some(interval)
    });
    Lane {
        budget_bytes: fields.and_then(budget).unwrap_or(2 << 30),
        when_full: fields.and_then(when_full).unwrap_or_else(|| vec![WhenFull::Thin, WhenFull::Evict]),
        thin_interval: interval.unwrap_or(seconds(60)),
        full_for: fields.and_then(|it| it.duration("full_for", seconds(60)..=days(3650))).unwrap_or(days(7)),
    }
}

fn events(root: &Fields<'_>) -> Lane {
    let budget_bytes = lane(root, "events", &keys::EVENTS).as_ref().and_then(budget).unwrap_or(64 << 20);
    // What happened cannot be summed up.
    Lane { budget_bytes, when_full: vec![WhenFull::Evict], thin_interval: seconds(60), full_for: days(7) }
}

fn lane<'a>(root: &Fields<'a>, name: &str, keys: &[&'static str]) -> Option<Fields<'a>> {
    root.table("lanes", "[lanes]", &keys::LANES)?.table(name, format!("[lanes.{name}]"), keys)
}

fn budget(fields: &Fields<'_>) -> Option<u64> {
    fields.size_bytes("budget", 4 << 20..=64 << 40)
}

/// Steps in order; the last must be to evict, because nothing else always makes room.
fn when_full(fields: &Fields<'_>) -> Option<Vec<WhenFull>> {
    let list = fields.list("when_full")?;
    let texts: Vec<&str> = list.iter().map(|step| step.text.as_str()).collect();
    match texts.as_slice() {
        ["thin", "evict"] => Some(vec![WhenFull::Thin, WhenFull::Evict]),
        ["evict"] => Some(vec![WhenFull::Evict]),
        _ => {
            let message = format!("`when_full` cannot be [{}]", texts.join(", ").escape_debug());
            let help = "write [\"thin\", \"evict\"] to sum up before anything is removed, or [\"evict\"] to remove the oldest at once";
            fields.refuse("P0104", "when_full", &message, help);
            None
        }
    }
}

fn limits(root: &Fields<'_>) -> Limits {
    let fields = root.table("limits", "[limits]", &keys::LIMITS);
    let fields = fields.as_ref();
    let count = |key, max, default| {
        let number = fields.and_then(|fields| fields.int(key, 1..=max));
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    Limits {
        reconnect_pause_max: fields
            .and_then(|it| it.duration("reconnect_pause_max", seconds(1)..=seconds(3600)))
            .unwrap_or(seconds(60)),
        web_clients: count("web_clients", 1000, 32),
        devices: count("devices", 10_000, 500),
        tags: count("tags", 1_000_000, 100_000),
    }
}

fn status(root: &Fields<'_>, language: &str) -> Status {
    let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
    let fields = root.table("status", "[status]", &keys::STATUS);
    let Some(fields) = fields else {
        let (language, host_names) = (language.to_owned(), Vec::new());
        return Status { listen, language, host_names, sign_in_from_network: false };
    };
    let written = fields.text("listen").map(|text| text.text);
    let parsed = written.as_ref().map(|text| text.parse::<SocketAddr>());
    if let Some(Err(_)) = parsed {
        let message = format!("`listen` cannot be \"{}\"", written.unwrap_or_default().escape_debug());
        let help = "write address:port, for example \"127.0.0.1:8080\", or \"0.0.0.0:8080\" for all networks";
        fields.refuse("C0203", "listen", &message, help);
    }
    Status {
        listen: parsed.and_then(Result::ok).unwrap_or(listen),
        language: fields.choice("language", &LANGUAGES).unwrap_or(language).to_owned(),
        host_names: host_names(&fields),
        sign_in_from_network: fields.choice("sign_in", &["loopback", "network"]) == Some("network"),
    }
}

/// Names of hosts as RFC 1123, section 2.1, has them; an underscore is common and does no harm.
fn host_names(status: &Fields<'_>) -> Vec<String> {
    let list = status.list("host_names").unwrap_or_default();
    if list.len() > HOST_NAMES_MAX {
        let count = list.len();
        let message = format!("`host_names` has {count} entries, at most {HOST_NAMES_MAX} are possible");
        status.refuse("P0104", "host_names", &message, "name only what readers type");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    for name in &list {
        if name.text.len() > 253 || !name.text.split('.').all(is_label) {
            let message = format!("[status]: \"{}\" is no name of a host", name.text.escape_debug());
            let fault = status.ctx.error("C0203", name.span, message);
            let help = "write the name alone, without scheme, port and *, for example \"box1.plant.example\"";
            status.ctx.report(fault.help(help));
        }
    }
    list.into_iter().map(|name| name.text).collect()
}

fn log(root: &Fields<'_>) -> Log {
    let fields = root.table("log", "[log]", &keys::LOG);
    let fields = fields.as_ref();
    let format = fields.and_then(|fields| fields.choice("format", &["text", "json"]));
    let level = fields.and_then(|it| it.choice("level", &["error", "warn", "info", "debug", "trace"]));
    Log { json: format == Some("json"), level: level.unwrap_or("info").to_owned() }
}

fn paths(root: &Fields<'_>, base: &Path, written: &mut Vec<(PathBuf, Span)>) -> Paths {
    let fields = root.table("paths", "[paths]", &keys::PATHS);
    let fields = fields.as_ref();
    let mut folders = |key: &str| {
        let list = fields.and_then(|fields| {
            let list = fields.list(key)?;
            too_many(fields, key, list.len());
            Some(list)
        });
        match list {
            None => vec![base.join(key)],
            Some(list) => {
                written.extend(list.iter().map(|folder| (base.join(&folder.text), folder.span)));
                list.iter().map(|folder| base.join(&folder.text)).collect()
            }
        }
    };
    let (profiles, devices, models) = (folders("profiles"), folders("devices"), folders("models"));
    let path = |key| fields.and_then(|fields| fields.text(key)).map(|path| base.join(path.text));
    Paths {
        profiles,
        devices,
        models,
        state: path("state").unwrap_or_else(|| PathBuf::from("/var/lib/forebay")),
        credentials: path("credentials"),
    }
}

fn models(root: &Fields<'_>, names: &mut ModelNames) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for (table, span) in root.tables("model") {
        let fields = Fields::open(root.ctx, "[[model]]", table, span, &keys::MODEL);
        let name = id(&fields, "name", "the folder of the model under [paths] models");
        fields.require("devices", "the devices it watches, for example devices = [\"press-3\"]");
        let list = fields.list("devices").unwrap_or_default();
        too_many(&fields, "devices", list.len());
        let watched_by = name.clone().unwrap_or_default();
        names.devices.extend(list.iter().map(|it| (it.text.clone(), it.span, watched_by.clone())));
        let Some(name) = name else { continue };
        if models.iter().any(|model| model.name == name) {
            let help = "put all its devices into one [[model]]";
            fields.refuse("C0205", "name", &format!("model `{name}` stands twice"), help);
        }
        names.models.extend(fields.text("name").map(|text| (text.text, text.span)));
        models.push(Model { name, devices: list.into_iter().map(|device| device.text).collect() });
    }
    models
}
