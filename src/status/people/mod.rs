//! Signing in, signing out, and doing something: the only requests that change anything.
//!
//! Before anything is done: the request came from a form of this page (Origin), it is bounded
//! ([`form`]), somebody is signed in ([`sessions`]) and the form is theirs (its token), and they may.
//! Wrong passwords cost time ([`throttle`]). A password is taken from this box itself only, unless
//! the configuration permits the network.

mod form;
mod sessions;
mod throttle;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::json;
use tokio::sync::Semaphore;

use super::frame::{self, Place};
use super::http::{Asked, Page, Site, render, too_many};
use super::listen::Peer;
use super::speech::{Speech, plain};
use super::words::{Language, PeopleWords, fill};
use crate::people::{NAME_CHARS_MAX, Person, password};
pub(super) use sessions::Signed;
use sessions::{LIFETIME, Sessions, same};
use throttle::Throttle;

/// Changes that wait for the disk at once.
const ACTING_MAX: usize = 4;
/// Passwords that wait to be checked; one is checked at a time, because each takes 19 MiB.
const CHECKS_WAITING_MAX: usize = 8;
/// Bytes of an address to go back to.
const BACK_BYTES_MAX: usize = 200;

/// Who came in.
pub(super) struct Door {
    sessions: Mutex<Sessions>,
    throttle: Mutex<Throttle>,
    acting: Semaphore,
    checks_waiting: Semaphore,
    checking: Semaphore,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            sessions: Mutex::default(),
            throttle: Mutex::default(),
            acting: Semaphore::new(ACTING_MAX),
            checks_waiting: Semaphore::new(CHECKS_WAITING_MAX),
            checking: Semaphore::new(1),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Addresses that take more than GET.
pub(super) fn is_change(path: &str) -> bool {
    path == "/sign-in" || path == "/sign-out" || path.starts_with("/do/")
}

/// Why a request that changes something is not believed.
pub(super) fn objection(site: &Site, headers: &HeaderMap) -> Option<Response> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let is_ours = |origin: &str| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    let referer = |referer: &str| {
        let scheme = referer.find("://").map_or(0, |at| at + 3);
        let end = referer[scheme..].find('/').map_or(referer.len(), |at| scheme + at);
        is_ours(&referer[..end])
    };
    // Browsers of old do not send the origin to their own site.
    let believed = match (text(header::ORIGIN), text(header::REFERER)) {
        (Some(origin), _) => is_ours(origin),
        (None, Some(from)) => referer(from),
        (None, None) => false,
    };
    (!believed).then(|| refuse(site, headers, StatusCode::FORBIDDEN, |words| words.forged))
}

/// Name of the cookie: browsers do not tell ports apart, and several boxes may be reached through tunnels.
fn cookie_name(site: &Site) -> String {
    format!("forebay-{:08x}", crc32c::crc32c(site.facts.identity().edge_id.as_bytes()))
}

fn secret<'a>(site: &Site, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(site);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, secret)| secret)
}

/// Who is signed in. `uses` = a person asks, no page that loads itself.
pub(super) fn signed(site: &Site, headers: &HeaderMap, uses: bool) -> Option<Signed> {
    let secret = secret(site, headers)?;
    let signed = lock(&site.door.sessions).find(secret, uses, Instant::now())?;
    // Who was removed meanwhile is nobody.
    if site.options.acts.people.find(&signed.person.name).as_ref() == Some(&signed.person) {
        return Some(signed);
    }
    lock(&site.door.sessions).end(secret);
    None
}

/// Where a password may come from.
fn may_sign_in(site: &Site, from: IpAddr) -> bool {
    site.options.acts.from_network || from.is_loopback()
}

/// Address of who asks; nobody is believed to be on this box without one.
fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    peer.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::BROADCAST))
}

/// What the sign-in page needs to know.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    back: String,
    /// What went wrong; may be empty.
    note: String,
    from: IpAddr,
}

/// `GET /sign-in`.
pub(super) async fn show(
    State(site): State<Arc<Site>>,
    axum::extract::Query(query): super::http::Asking,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let back = back_of(query.get("back").map_or("/health", String::as_str));
    let entry = Entry { back, note: String::new(), from: peer(&request) };
    let mut asked = Asked::read(&query, &headers, site.options.language);
    asked.signed = signed(&site, &headers, true);
    page(&site, &headers, &asked, entry).await
}

/// The clock of the sign-in page goes on.
pub(super) async fn live(
    site: State<Arc<Site>>,
    query: super::http::Asking,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let entry = Entry { back: String::new(), note: String::new(), from: peer(&request) };
    super::live::stream(Page::SignIn(entry), site, query, headers, request).await
}

async fn page(site: &Site, headers: &HeaderMap, asked: &Asked, entry: Entry) -> Response {
    let Some(_turn) = site.turn().await else { return too_many(site, headers) };
    let speech = Speech::now(asked.language);
    render(site, &Page::SignIn(entry), asked, None, &speech, headers)
}

/// The sign-in page.
pub(super) fn sign_in_page(
    site: &Site,
    entry: &Entry,
    signed: Option<&Signed>,
    place: &Place,
    speech: &Speech,
) -> Markup {
    let words = speech.people_words();
    html! {
        h1.heading { (words.sign_in) }
        section.group.door {
            @if !entry.note.is_empty() { p.wrong role="alert" { (entry.note) } }
            @if let Some(signed) = signed {
                p { (fill(words.signed_in, &[&signed.person.name])) }
                form.act method="post" action="/sign-out" {
                    input type="hidden" name="token" value=(signed.token);
                    button type="submit" { (words.sign_out) }
                }
                p.who { a href=(place.to("/health")) { (words.back) } }
            } @else if !may_sign_in(site, entry.from) {
                p { (words.not_from_here) }
            } @else if site.options.acts.people.list().is_empty() {
                p { (words.nobody) }
            } @else {
                p { (words.why) }
                @if !entry.from.is_loopback() { p.wrong { (words.in_the_clear) } }
                form.act.sign method="post" action=(place.to("/sign-in")) {
                    input type="hidden" name="back" value=(entry.back);
                    label { (words.name)
                        input type="text" name="name" maxlength=(NAME_CHARS_MAX) autocomplete="username" required; }
                    label { (words.password)
                        input type="password" name="password" maxlength=(password::CHARS_MAX)
                            autocomplete="current-password" required; }
                    button type="submit" { (words.sign_in) }
                }
            }
        }
    }
}

/// `POST /sign-in`.
pub(super) async fn sign_in(
    State(site): State<Arc<Site>>,
    axum::extract::Query(query): super::http::Asking,
    request: Request,
) -> Response {
    let (from, (parts, body)) = (peer(&request), request.into_parts());
    let headers = parts.headers;
    let asked = Asked::read(&query, &headers, site.options.language);
    let words = asked.language.people_words();
    let sent = match form::read(&headers, body).await {
        Ok(sent) => sent,
        Err(status) => return refuse(&site, &headers, status, |words| words.bad_form),
    };
    let text = |name: &str| sent.get(name).map(String::as_str).unwrap_or_default();
    let (name, password, back) = (text("name").trim(), text("password"), back_of(text("back")));
    let entry = |note: String| Entry { back: back.clone(), note, from };
    if !may_sign_in(&site, from) {
        let answer = page(&site, &headers, &asked, entry(String::new())).await;
        return with_status(answer, StatusCode::FORBIDDEN);
    }
    if name.chars().count() > NAME_CHARS_MAX || password.chars().count() > password::CHARS_MAX {
        return refuse(&site, &headers, StatusCode::BAD_REQUEST, |words| words.bad_form);
    }
    let may = lock(&site.door.throttle).may_try(from, name, Instant::now());
    if let Err(wait) = may {
        return wait_longer(&site, &headers, &asked, entry(String::new()), wait).await;
    }
    match check(&site, name, password).await {
        Err(()) => too_many(&site, &headers),
        Ok(Some(person)) => let_in(&site, &headers, person, from, &back),
        Ok(None) => {
            let told = lock(&site.door.throttle).was_wrong(from, name, Instant::now());
            if told {
                let name = plain(name);
                let said = format!("{name} was refused at {from}: several wrong passwords");
                site.options.acts.people.tell("refused", &name, json!({ "from": from.to_string() }), &said);
            }
            let answer = page(&site, &headers, &asked, entry(words.wrong.to_owned())).await;
            with_status(answer, StatusCode::UNAUTHORIZED)
        }
    }
}

/// Checks a password where that may take its time, one after the other.
async fn check(site: &Site, name: &str, password: &str) -> Result<Option<Person>, ()> {
    let _waiting = site.door.checks_waiting.try_acquire().map_err(drop)?;
    let _checking = site.door.checking.acquire().await.map_err(drop)?;
    let people = Arc::clone(&site.options.acts.people);
    let (name, password) = (name.to_owned(), password.to_owned());
    tokio::task::spawn_blocking(move || people.verify(&name, &password)).await.map_err(drop)
}

async fn wait_longer(
    site: &Site,
    headers: &HeaderMap,
    asked: &Asked,
    entry: Entry,
    wait: Duration,
) -> Response {
    let speech = Speech::now(asked.language);
    let seconds = wait.as_secs() + 1;
    #[allow(clippy::cast_precision_loss)] // a wait
    let note = fill(speech.people_words().wait, &[&speech.duration(seconds as f64)]);
    let answer = page(site, headers, asked, Entry { note, ..entry }).await;
    let mut answer = with_status(answer, StatusCode::TOO_MANY_REQUESTS);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn let_in(site: &Site, headers: &HeaderMap, person: Person, from: IpAddr, back: &str) -> Response {
    lock(&site.door.throttle).was_right(from, &person.name);
    let name = person.name.clone();
    // Whoever was signed in on this browser is so no more.
    if let Some(before) = secret(site, headers) {
        lock(&site.door.sessions).end(before);
    }
    let begun = lock(&site.door.sessions).begin(person, Instant::now());
    let Some(secret) = begun else { return too_many(site, headers) };
    let said = format!("{name} signed in from {from}");
    site.options.acts.people.tell("signed-in", &name, json!({ "from": from.to_string() }), &said);
    let (cookie, age) = (cookie_name(site), LIFETIME.as_secs());
    let cookie = format!("{cookie}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}");
    go(back, Some(&cookie))
}

/// `POST /sign-out`.
pub(super) async fn sign_out(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let (signed, _) = match theirs(&site, &headers, body).await {
        Ok(theirs) => theirs,
        Err(answer) => return answer,
    };
    if let Some(secret) = secret(&site, &headers) {
        lock(&site.door.sessions).end(secret);
    }
    let name = &signed.person.name;
    site.options.acts.people.tell("signed-out", name, json!({}), &format!("{name} signed out"));
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0", cookie_name(&site));
    go("/health", Some(&cookie))
}

/// `POST /do/<action>`.
pub(super) async fn act(
    State(site): State<Arc<Site>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    let (signed, sent) = match theirs(&site, &headers, body).await {
        Ok(theirs) => theirs,
        Err(answer) => return answer,
    };
    let words = language(&site, &headers).people_words();
    let Some(action) = site.options.acts.find(&name) else {
        return super::http::refuse(&site, &headers, StatusCode::NOT_FOUND, |words| words.not_found);
    };
    if signed.person.role < action.who {
        let why = fill(words.not_yours, &[action.who.code()]);
        return refuse_with(&site, &headers, StatusCode::FORBIDDEN, &why);
    }
    let back = back_of(sent.get("back").map(String::as_str).unwrap_or_default());
    let Some(filled) = action.fill(sent) else {
        return refuse(&site, &headers, StatusCode::BAD_REQUEST, |words| words.bad_form);
    };
    let Ok(_acting) = site.door.acting.try_acquire() else { return too_many(&site, &headers) };
    let (doer, person) = (Arc::clone(&site), signed.person);
    let done = tokio::task::spawn_blocking(move || {
        let action = doer.options.acts.find(&name)?;
        Some((action.call)(&person, &filled))
    });
    match done.await {
        Ok(Some(Ok(()))) => go(&back, None),
        Ok(Some(Err(why))) => {
            let why = fill(words.failed, &[&plain(why.get(language(&site, &headers).code()))]);
            refuse_with(&site, &headers, StatusCode::CONFLICT, &why)
        }
        Ok(None) | Err(_) => too_many(&site, &headers),
    }
}

/// Who sent this form, and what is in it.
async fn theirs(
    site: &Site,
    headers: &HeaderMap,
    body: axum::body::Body,
) -> Result<(Signed, BTreeMap<String, String>), Response> {
    let sent = form::read(headers, body).await;
    let sent = sent.map_err(|status| refuse(site, headers, status, |words| words.bad_form))?;
    let nobody = || refuse(site, headers, StatusCode::UNAUTHORIZED, |words| words.not_signed_in);
    let signed = signed(site, headers, true).ok_or_else(nobody)?;
    if !sent.get("token").is_some_and(|token| same(token, &signed.token)) {
        return Err(refuse(site, headers, StatusCode::FORBIDDEN, |words| words.forged));
    }
    Ok((signed, sent))
}

/// Only to a page of this box.
fn back_of(asked: &str) -> String {
    let is_path = asked.starts_with('/') && !asked.starts_with("//");
    let is_plain =
        asked.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'<' | b'>' | b'"'));
    let is_fine = is_path && is_plain && asked.len() <= BACK_BYTES_MAX;
    if is_fine { asked.to_owned() } else { "/health".to_owned() }
}

/// On to another page, so that loading it anew does not send the form again.
fn go(to: &str, cookie: Option<&str>) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let headers = answer.headers_mut();
    for (name, value) in [(header::LOCATION, Some(to)), (header::SET_COOKIE, cookie)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    answer
}

fn with_status(mut answer: Response, status: StatusCode) -> Response {
    // A page that could not be made has a status of its own.
    if answer.status() == StatusCode::OK {
        *answer.status_mut() = status;
    }
    answer
}

fn language(site: &Site, headers: &HeaderMap) -> Language {
    Asked::read(&HashMap::new(), headers, site.options.language).language
}

fn refuse(
    site: &Site,
    headers: &HeaderMap,
    status: StatusCode,
    text: fn(&PeopleWords) -> &'static str,
) -> Response {
    refuse_with(site, headers, status, text(language(site, headers).people_words()))
}

fn refuse_with(site: &Site, headers: &HeaderMap, status: StatusCode, text: &str) -> Response {
    let html = frame::refusal(text, language(site, headers)).into_string();
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}
