//! The live stream: once a second the cells that changed, a heartbeat every five seconds.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::header::HeaderMap;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::frame::Cell;
use super::http::{Asked, Asking, Page, Site, refuse, too_many};
use super::listen::{LiveMark, Seat};
use super::speech::Speech;

const TICK: Duration = Duration::from_secs(1);
const BEAT: Duration = Duration::from_secs(5);

/// One reader's stream.
struct Stream {
    page: Page,
    site: Arc<Site>,
    asked: Asked,
    tick: Interval,
    /// What the reader has, by id. As large as the page, of which the number is bounded.
    sent: HashMap<String, String>,
    spoke: Option<Instant>,
    /// What the page was told to be.
    build: String,
    /// Frees the place when the reader goes.
    _seat: Seat,
}

pub(super) async fn stream(
    page: Page,
    State(site): State<Arc<Site>>,
    Query(query): Asking,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let asked = Asked::read(&query, &headers, site.options.language);
    if page.machine().is_some_and(|name| !site.knows(name)) {
        return refuse(&site, &headers, StatusCode::NOT_FOUND, |words| words.no_such_machine);
    }
    if asked.once {
        return once(&page, &site, &asked, &headers).await;
    }
    let Ok(place) = Arc::clone(&site.live).try_acquire_owned() else { return too_many(&site, &headers) };
    let seat = request.extensions().get::<LiveMark>().cloned().unwrap_or_default().sit(place);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = site.stop.clone();
    let stream = Stream {
        page,
        site,
        asked,
        tick,
        sent: HashMap::new(),
        spoke: None,
        build: String::new(),
        _seat: seat,
    };
    let events = futures_util::stream::unfold(stream, move |mut stream| {
        let stop = stop.clone();
        async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => None,
                event = stream.next() => Some((Ok::<_, Infallible>(event?), stream)),
            }
        }
    });
    Sse::new(events).into_response()
}

impl Stream {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            // The first one comes at once.
            self.tick.tick().await;
            // Too many at once: the reader gets its news a second later.
            let Some((speech, build, changed)) = self.look().await? else { continue };
            if build != self.build {
                self.build.clone_from(&build);
                return Some(Event::default().event("build").retry(TICK).data(build));
            }
            let time = speech.moment_exact(speech.now_us);
            if !changed.is_empty() {
                self.spoke = Some(Instant::now());
                let data = serde_json::to_string(&changed).unwrap_or_default();
                self.sent.extend(changed);
                return Some(Event::default().event("cells").id(time).data(data));
            }
            if self.spoke.is_none_or(|spoke| spoke.elapsed() >= BEAT) {
                self.spoke = Some(Instant::now());
                return Some(Event::default().event("beat").id(time).data("1"));
            }
        }
    }

    /// The build, and what changed; the outer `None` when the machine is gone, the inner when there was no turn.
    #[allow(clippy::option_option)] // said right above
    async fn look(&self) -> Option<Option<(Speech, String, HashMap<String, String>)>> {
        let Some(_turn) = self.site.turn().await else { return Some(None) };
        let speech = Speech::now(self.asked.language);
        let cells = self.page.cells(&self.site, &self.asked, &speech)?;
        let changed = texts(cells).filter(|(id, html)| self.sent.get(id) != Some(html)).collect();
        let build = self.page.build(&self.site, &self.asked, &speech);
        Some(Some((speech, build, changed)))
    }
}

fn texts(cells: Vec<Cell>) -> impl Iterator<Item = (String, String)> {
    cells.into_iter().map(|cell| (cell.id, cell.html.into_string()))
}

/// All cells at once, for readers that find the live places taken.
async fn once(page: &Page, site: &Site, asked: &Asked, headers: &HeaderMap) -> Response {
    let Some(_turn) = site.turn().await else { return too_many(site, headers) };
    let speech = Speech::now(asked.language);
    let Some(cells) = page.cells(site, asked, &speech) else {
        return refuse(site, headers, StatusCode::NOT_FOUND, |words| words.no_such_machine);
    };
    let cells: HashMap<_, _> = texts(cells).collect();
    let build = page.build(site, asked, &speech);
    let body = json!({ "time": speech.moment_exact(speech.now_us), "build": build, "cells": cells });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
