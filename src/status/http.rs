//! Routes, and what guards them: only known names of the box, bounded work, and reading only but for
//! what [`super::people`] lets through.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::Markup;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::frame::{self, Cell, Place};
use super::machine::{Machine, Part};
use super::people::{self, Door, Entry, Signed};
use super::speech::{Speech, plain};
use super::view::View;
use super::words::Language;
use super::{Options, chronicle, health, health_page, live, machine, metrics, page, trend, view};
use crate::schema;
use crate::status::facts::Facts;
use crate::twin::Twin;

/// Longest path and query, in bytes.
const URI_BYTES_MAX: usize = 1024;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const CSS: &str = include_str!("assets/forebay.css");
const SCRIPT: &str = include_str!("assets/live.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Everything the handlers know.
pub(super) struct Site {
    pub(super) options: Options,
    pub(super) address: SocketAddr,
    pub(super) twin: Arc<Twin>,
    pub(super) facts: Arc<dyn Facts>,
    pub(super) stop: tokio_util::sync::CancellationToken,
    /// Live readers that may still come.
    pub(super) live: Arc<Semaphore>,
    /// Requests that may wait for their turn.
    waiting: Semaphore,
    /// One page is made at a time: a flood of requests costs one core at most, never the poller's.
    making: Semaphore,
    /// The past is read from the disk for one reader at a time.
    pub(super) reading: Semaphore,
    /// Tells an open page that it comes from another process or other files.
    pub(super) build: String,
    /// Who is signed in.
    pub(super) door: Door,
}

impl Site {
    pub(super) fn new(
        options: Options,
        address: SocketAddr,
        twin: Arc<Twin>,
        facts: Arc<dyn Facts>,
        stop: tokio_util::sync::CancellationToken,
    ) -> Self {
        let files =
            [CSS, SCRIPT, ICON].iter().fold(0, |sum, file| crc32c::crc32c_append(sum, file.as_bytes()));
        let started = facts.identity().started_us;
        Self {
            live: Arc::new(Semaphore::new(options.web_clients_max)),
            waiting: Semaphore::new(options.web_clients_max),
            making: Semaphore::new(1),
            reading: Semaphore::new(1),
            build: format!("{files:08x}{started:x}"),
            door: Door::default(),
            options,
            address,
            twin,
            facts,
            stop,
        }
    }

    /// Whether there is a page for this machine.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.twin.device(name).is_some()
            || self.facts.not_read().iter().any(|it| !it.runs_on && it.name == name)
    }

    /// A turn at making a page; `None` when too many wait already.
    pub(super) async fn turn(&self) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let waiting = self.waiting.try_acquire().ok()?;
        // Never closed, so this cannot fail.
        let making = self.making.acquire().await.ok()?;
        Some((waiting, making))
    }
}

/// What a reader asked for.
pub(super) struct Asked {
    pub(super) language: Language,
    chosen: Option<Language>,
    part: usize,
    /// One answer instead of a stream.
    pub(super) once: bool,
    /// The page has loaded itself.
    again: bool,
    /// Who asks, on pages with buttons.
    pub(super) signed: Option<Signed>,
}

impl Asked {
    pub(super) fn read(query: &HashMap<String, String>, headers: &HeaderMap, default: Language) -> Self {
        let chosen = query.get("lang").and_then(|code| Language::parse(code));
        let accepted = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok())
            .filter(|_| default != Language::Stretched)
            .and_then(Language::accepted);
        Self {
            language: chosen.or(accepted).unwrap_or(default),
            chosen,
            part: query.get("part").and_then(|part| part.parse().ok()).unwrap_or(1),
            once: query.contains_key("once"),
            again: query.contains_key("again"),
            signed: None,
        }
    }
}

/// A page with live parts.
#[derive(Debug, Clone)]
pub(super) enum Page {
    Overview,
    Machine(String),
    Trend(trend::Asked),
    Health,
    Events,
    SignIn(Entry),
}

/// A page made for one reader.
struct Made {
    title: String,
    body: Markup,
}

impl Page {
    fn path(&self) -> String {
        match self {
            Self::Overview => "/".to_owned(),
            Self::Machine(name) => format!("/m/{}", frame::encode(name)),
            Self::Trend(asked) => asked.path(),
            Self::Health => "/health".to_owned(),
            Self::Events => "/events".to_owned(),
            Self::SignIn(_) => "/sign-in".to_owned(),
        }
    }

    /// The machine this page is about.
    pub(super) fn machine(&self) -> Option<&str> {
        match self {
            Self::Machine(name) => Some(name),
            Self::Trend(asked) => Some(&asked.device),
            Self::Overview | Self::Health | Self::Events | Self::SignIn(_) => None,
        }
    }

    /// Tells an open page to load itself anew, because another process serves it, or because its
    /// forms stand in other places.
    pub(super) fn build(&self, site: &Site, asked: &Asked, speech: &Speech) -> String {
        match self {
            Self::Health => {
                let health = health::health(&*site.facts, &site.twin, asked.part, speech);
                format!("{}-{:08x}", site.build, health.shape)
            }
            _ => site.build.clone(),
        }
    }

    /// When a browser without scripts loads the page anew, and from where.
    fn refresh(&self, place: &Place, asked: &Asked) -> String {
        match self {
            // What somebody types there must not go.
            Self::SignIn(_) => String::new(),
            Self::Health if asked.signed.is_some() => {
                let here = place.here();
                let mark = if here.contains('?') { '&' } else { '?' };
                format!("60; url={here}{mark}again=1")
            }
            _ => "5".to_owned(),
        }
    }

    /// Everything on this page that can change; `None` when there is no such machine.
    pub(super) fn cells(&self, site: &Site, asked: &Asked, speech: &Speech) -> Option<Vec<Cell>> {
        let mut cells = match self {
            Self::Overview => {
                let (view, part) = overview(site, asked, speech);
                page::overview_cells(&view, part, speech)
            }
            Self::Machine(name) => page::machine_cells(&machine_of(site, name, asked, speech)?, speech),
            // The past does not change; the clock shows that the box is there.
            Self::Trend(_) | Self::SignIn(_) => Vec::new(),
            Self::Health => {
                let health = health::health(&*site.facts, &site.twin, asked.part, speech);
                health_page::cells(&health, speech)
            }
            Self::Events => page::event_cells(&chronicle::events(&*site.facts, speech), speech),
        };
        cells.push(clock(site, speech));
        Some(cells)
    }

    /// The page; `past` is what was read for it.
    fn make(
        &self,
        site: &Site,
        asked: &Asked,
        past: Option<&trend::Past>,
        (speech, place): (&Speech, &Place),
    ) -> Option<Made> {
        let words = speech.words;
        Some(match self {
            Self::Overview => {
                let (view, part) = overview(site, asked, speech);
                Made { title: view.verdict.text.clone(), body: page::overview(&view, part, place, speech) }
            }
            Self::Machine(name) => {
                let machine = machine_of(site, name, asked, speech)?;
                Made { title: machine.row.name.clone(), body: page::machine(&machine, place, speech) }
            }
            Self::Trend(wanted) => Made {
                title: plain(&format!("{} {}", wanted.device, wanted.tag)),
                body: trend::page(wanted, past?, place, speech),
            },
            Self::Health => {
                let health = health::health(&*site.facts, &site.twin, asked.part, speech);
                let body = health_page::page(&health, asked.signed.as_ref(), place, speech);
                Made { title: speech.health_words().question.to_owned(), body }
            }
            Self::SignIn(entry) => Made {
                title: speech.people_words().sign_in.to_owned(),
                body: people::sign_in_page(site, entry, asked.signed.as_ref(), place, speech),
            },
            Self::Events => {
                let events = chronicle::events(&*site.facts, speech);
                Made { title: words.events.to_owned(), body: page::events(&events, speech) }
            }
        })
    }
}

fn overview(site: &Site, asked: &Asked, speech: &Speech) -> (View, Part) {
    let view = view::view(&site.twin, &*site.facts, speech);
    let part = Part::of(view.machines.len(), page::MACHINES_SHOWN_MAX, asked.part);
    (view, part)
}

fn machine_of(site: &Site, name: &str, asked: &Asked, speech: &Speech) -> Option<Machine> {
    if let Some(device) = site.twin.device(name) {
        return Some(machine::machine(&device, &*site.facts, asked.part, speech));
    }
    let not_read = site.facts.not_read().into_iter().find(|it| !it.runs_on && it.name == name)?;
    Some(machine::not_read(&not_read, speech))
}

fn clock(site: &Site, speech: &Speech) -> Cell {
    let synchronised = site.facts.identity().clock_synchronised;
    frame::clock(
        &speech.moment(speech.now_us),
        view::clock_words(synchronised, speech),
        synchronised == Some(false),
        speech,
    )
}

/// All routes with their guard. What is not named here does not exist.
pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(|site, query, headers| show(Page::Overview, site, query, headers)))
        .route("/events", get(|site, query, headers| show(Page::Events, site, query, headers)))
        .route("/health", get(|site, query, headers| show(Page::Health, site, query, headers)))
        .route("/sign-in", get(people::show).post(people::sign_in))
        .route("/sign-out", post(people::sign_out))
        .route("/do/{action}", post(people::act))
        .route("/live/sign-in", get(people::live))
        .route(
            "/live/health",
            get(|site, query, headers, request| live::stream(Page::Health, site, query, headers, request)),
        )
        .route(
            "/m/{device}",
            get(|site, query, headers, Path(name): Path<String>| {
                show(Page::Machine(name), site, query, headers)
            }),
        )
        .route(
            "/live",
            get(|site, query, headers, request| live::stream(Page::Overview, site, query, headers, request)),
        )
        .route(
            "/live/events",
            get(|site, query, headers, request| live::stream(Page::Events, site, query, headers, request)),
        )
        .route(
            "/live/m/{device}",
            get(|site, query, headers, Path(name): Path<String>, request| {
                live::stream(Page::Machine(name), site, query, headers, request)
            }),
        )
        .route("/m/{device}/trend/{tag}/{span}", get(show_trend))
        .route("/live/m/{device}/trend/{tag}/{span}", get(live_trend))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_text))
        .route("/api/v1/status.json", get(status_json))
        .route("/schema/profile-1.json", get(|| async { schema_text(schema::Kind::Profile) }))
        .route("/schema/site-1.json", get(|| async { schema_text(schema::Kind::Site) }))
        .route("/assets/forebay.css", get(|| async { asset("text/css; charset=utf-8", CSS) }))
        .route("/assets/live.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/assets/icon.svg", get(|| async { asset("image/svg+xml", ICON) }))
        .fallback(|State(site): State<Arc<Site>>, headers: HeaderMap| async move {
            refuse(&site, &headers, StatusCode::NOT_FOUND, |words| words.not_found)
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard))
        .with_state(site)
}

/// The query, in whatever form it came.
pub(super) type Asking = Query<HashMap<String, String>>;

async fn show(
    page: Page,
    State(site): State<Arc<Site>>,
    Query(query): Asking,
    headers: HeaderMap,
) -> Response {
    let mut asked = Asked::read(&query, &headers, site.options.language);
    let speech = Speech::now(asked.language);
    let past = match &page {
        Page::Trend(wanted) => trend::read(&site, wanted, speech.now_us).await,
        Page::Health => {
            asked.signed = people::signed(&site, &headers, !asked.again);
            None
        }
        Page::Overview | Page::Machine(_) | Page::Events | Page::SignIn(_) => None,
    };
    let Some(_turn) = site.turn().await else { return too_many(&site, &headers) };
    render(&site, &page, &asked, past.as_ref(), &speech, &headers)
}

/// A page as it is answered; `past` is what was read for it.
pub(super) fn render(
    site: &Site,
    page: &Page,
    asked: &Asked,
    past: Option<&trend::Past>,
    speech: &Speech,
    headers: &HeaderMap,
) -> Response {
    let (path, build) = (page.path(), page.build(site, asked, speech));
    let place = Place { path: &path, chosen: asked.chosen, part: asked.part, build: &build, refresh: "" };
    let refresh = page.refresh(&place, asked);
    let place = Place { refresh: &refresh, ..place };
    let Some(made) = page.make(site, asked, past, (speech, &place)) else {
        return refuse(site, headers, StatusCode::NOT_FOUND, |words| words.no_such_machine);
    };
    let identity = site.facts.identity();
    let html = frame::frame(&identity, &clock(site, speech), &made.title, &made.body, &place, speech);
    let mut answer = text("text/html; charset=utf-8", html.into_string());
    if matches!(page, Page::Health | Page::SignIn(_)) {
        // With less, browsers hide from us that a form comes from this page.
        answer.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
    answer
}

type TrendPath = Path<(String, String, String)>;

async fn show_trend(
    site: State<Arc<Site>>,
    query: Asking,
    headers: HeaderMap,
    Path((device, tag, span)): TrendPath,
) -> Response {
    match trend::Asked::read(device, tag, &span) {
        Some(asked) => show(Page::Trend(asked), site, query, headers).await,
        None => refuse(&site, &headers, StatusCode::NOT_FOUND, |words| words.not_found),
    }
}

async fn live_trend(
    site: State<Arc<Site>>,
    query: Asking,
    headers: HeaderMap,
    Path((device, tag, span)): TrendPath,
    request: Request,
) -> Response {
    match trend::Asked::read(device, tag, &span) {
        Some(asked) => live::stream(Page::Trend(asked), site, query, headers, request).await,
        None => refuse(&site, &headers, StatusCode::NOT_FOUND, |words| words.not_found),
    }
}

async fn healthz(State(site): State<Arc<Site>>, Query(query): Asking, headers: HeaderMap) -> Response {
    let asked = Asked::read(&query, &headers, site.options.language);
    let speech = Speech::now(asked.language);
    let troubles = view::troubles(&*site.facts, &speech);
    let (status, said) = match troubles.is_empty() {
        true => (StatusCode::OK, speech.words.healthy.to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n")),
    };
    (status, text("text/plain; charset=utf-8", said + "\n")).into_response()
}

async fn metrics_text(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let Some(_turn) = site.turn().await else { return too_many(&site, &headers) };
    let speech = Speech::now(Language::En);
    let view = view::view(&site.twin, &*site.facts, &speech);
    text("text/plain; version=0.0.4; charset=utf-8", metrics::text(&view, &site.facts.metrics()))
}

async fn status_json(State(site): State<Arc<Site>>, Query(query): Asking, headers: HeaderMap) -> Response {
    let Some(_turn) = site.turn().await else { return too_many(&site, &headers) };
    let asked = Asked::read(&query, &headers, site.options.language);
    let view = view::view(&site.twin, &*site.facts, &Speech::now(asked.language));
    match serde_json::to_string(&view) {
        Ok(json) => text("application/json", json),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn text(kind: &'static str, body: String) -> Response {
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// A schema for editors, which may change with the program.
fn schema_text(kind: schema::Kind) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/schema+json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, schema::text(kind)).into_response()
}

fn asset(kind: &'static str, body: &'static str) -> Response {
    // The address carries the build, so a copy never gets old.
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, body).into_response()
}

/// An answer that says in the reader's language why there is no other.
pub(super) fn refuse(
    site: &Site,
    headers: &HeaderMap,
    status: StatusCode,
    text_of: fn(&super::words::Words) -> &'static str,
) -> Response {
    let language = Asked::read(&HashMap::new(), headers, site.options.language).language;
    let html = frame::refusal(text_of(language.words()), language).into_string();
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

pub(super) fn too_many(site: &Site, headers: &HeaderMap) -> Response {
    let mut answer = refuse(site, headers, StatusCode::SERVICE_UNAVAILABLE, |words| words.too_many);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

/// Stands before every route and signs every answer.
async fn guard(State(site): State<Arc<Site>>, request: Request<Body>, next: Next) -> Response {
    let mut answer = match objection(&site, &request) {
        Some(answer) => answer,
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::VARY).or_insert(HeaderValue::from_static("accept-language"));
    answer
}

fn objection(site: &Site, request: &Request<Body>) -> Option<Response> {
    let headers = request.headers();
    let is_change = *request.method() == Method::POST && people::is_change(request.uri().path());
    if !is_change && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = refuse(site, headers, StatusCode::METHOD_NOT_ALLOWED, |words| words.read_only);
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(answer);
    }
    if request.uri().to_string().len() > URI_BYTES_MAX {
        return Some(refuse(site, headers, StatusCode::URI_TOO_LONG, |words| words.too_long));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    if !super::host::is_ours(host, site.address, &site.options.host_names) {
        return Some(refuse(site, headers, StatusCode::MISDIRECTED_REQUEST, |words| words.wrong_host));
    }
    if is_change { people::objection(site, headers) } else { None }
}
