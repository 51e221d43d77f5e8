//! The connector: what the poller sees.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_connector::{
    Connector, DeviceMessage, DeviceSpec, OpenFault, Pace as RequestPace, PollError, RawSample,
};
use opcua::client::Client;
use opcua::types::NodeId;

use crate::address::NodeAddress;
use crate::asked::Asked;
use crate::decode;
use crate::events::{self, Alarms, EventQueue};
use crate::history::{self, Recorded};
use crate::inbox::Inbox;
use crate::pace::Pace;
use crate::session::{Link, client};
use crate::settings::Settings;
use crate::sources::Sources;
use crate::subscribe::{Subscribed, subscribe};
use crate::trust::TrustList;

/// How often is looked whether the server is still trusted.
const TRUST_CHECK: Duration = Duration::from_secs(5);

/// Requests until a session is open: endpoints, channel, session, activation.
const HANDSHAKE_REQUESTS: usize = 4;

/// A device read over OPC UA.
pub(crate) struct OpcUaConnector {
    device: DeviceSpec,
    settings: Settings,
    addresses: Vec<NodeAddress>,
    client: Option<Arc<Client>>,
    live: Option<Live>,
    pace: Pace,
    /// A session is being opened; still set when that was given up half-way.
    opening: bool,
    alarms: Alarms,
    requests: Arc<AtomicU64>,
    request_pace: Option<Arc<dyn RequestPace>>,
}

/// Everything that ends with the session.
struct Live {
    link: Link,
    ready: Ready,
    /// When the list was last looked at.
    trust_seen: Instant,
    /// Tags of which the server keeps history, once it has been asked.
    recorded: Option<Vec<Recorded>>,
    /// What was asked for last, which is usually what is asked for next.
    asked: Asked,
}

/// What has been made ready on a session.
struct Ready {
    inbox: Arc<Inbox>,
    events: Arc<EventQueue>,
    /// How long each subscription may be silent, index = its number in the inbox.
    silences: Vec<Duration>,
    /// For each tag: it is asked for in every scan.
    polled: Vec<bool>,
    /// For each tag its id on this server, until the server's next start.
    nodes: Vec<Option<NodeId>>,
    sources: Arc<Sources>,
    namespaces: Vec<String>,
    read_chunk: usize,
    identity: String,
}

impl OpcUaConnector {
    /// Prepares a connector.
    ///
    /// # Errors
    /// [`OpenFault`] with the first complaint about the device.
    pub(crate) fn new(device: DeviceSpec) -> Result<Self, OpenFault> {
        let (settings, complaints) = Settings::read(&device);
        if let Some(first) = complaints.first() {
            return Err(OpenFault { message: format!("{}; {}", first.message, first.help) });
        }
        let addresses = device
            .tags
            .iter()
            .map(|tag| {
                NodeAddress::parse(&tag.address)
                    .map_err(|fault| OpenFault { message: format!("tag `{}`: {}", tag.path, fault.message) })
            })
            .collect::<Result<_, _>>()?;
        let requests = Arc::new(AtomicU64::new(0));
        Ok(Self {
            alarms: Alarms::of(&device.state_directory.join(&device.name).to_string_lossy()),
            device,
            settings,
            addresses,
            client: None,
            live: None,
            pace: Pace::default(),
            opening: false,
            requests,
            request_pace: None,
        })
    }

    /// The number of the namespace that an alias stands for.
    fn index(&self, namespaces: &[String], alias: &Option<String>) -> Option<u16> {
        let Some(alias) = alias else { return Some(0) };
        let uri = self.settings.namespaces.get(alias)?;
        namespaces.iter().position(|known| known == uri).and_then(|index| u16::try_from(index).ok())
    }

    /// The ids on a server with these namespaces; a tag whose namespace it lacks has none.
    fn resolve(&self, namespaces: &[String]) -> Result<Vec<Option<NodeId>>, PollError> {
        let node = |address: &NodeAddress| Some(address.resolve(self.index(namespaces, &address.alias)?));
        let nodes: Vec<_> = self.addresses.iter().map(node).collect();
        if nodes.iter().any(Option::is_some) || nodes.is_empty() {
            return Ok(nodes);
        }
        let wanted: Vec<_> = self.settings.namespaces.values().map(String::as_str).collect();
        Err(PollError::Refused {
            what: format!(
                "the server has none of the namespaces {}; it has {}. Correct [opcua.namespaces], or load the \
                 program into the controller",
                wanted.join(", "),
                namespaces.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// Everything that follows the opening of the session.
    async fn prepare(&self, link: &Link) -> Result<Ready, PollError> {
        let facts = link.facts().await?;
        let mut nodes = self.resolve(&facts.namespaces)?;
        let chunk = facts.read_chunk;
        let sources = Sources::of(&self.device, &self.addresses, &mut nodes, link, chunk).await?;
        let mut ready = Ready {
            inbox: Arc::new(Inbox::new(self.device.tags.len(), self.device.scans.len() + 1)),
            events: Arc::default(),
            silences: Vec::new(),
            polled: Vec::new(),
            nodes,
            sources: Arc::new(sources),
            namespaces: facts.namespaces,
            read_chunk: facts.read_chunk,
            identity: facts.identity,
        };
        let publishing = self.settings.publishing;
        let subscribed = if self.settings.polled {
            Subscribed::none(ready.nodes.len(), true)
        } else {
            for (tag, _) in (0u32..).zip(&ready.nodes).filter(|(_, node)| node.is_none()) {
                ready.inbox.push(decode::refused(tag));
            }
            let chunk = facts.item_chunk;
            subscribe(&self.device, publishing, link, chunk, &ready.nodes, &ready.sources, &ready.inbox)
                .await?
        };
        if let Some(status) = subscribed.why {
            let polled = subscribed.polled.iter().filter(|polled| **polled).count();
            let all = subscribed.polled.len();
            ready.note(&format!(
                "{polled} of {all} tags are polled, the server has no subscription for them ({status})"
            ));
        }
        (ready.silences, ready.polled) = (subscribed.silences, subscribed.polled);
        self.listen(link, publishing, &mut ready).await?;
        Ok(ready)
    }

    /// Subscribes to alarms and messages, where they are wanted. A server that has none is read
    /// nevertheless.
    async fn listen(&self, link: &Link, publishing: Duration, ready: &mut Ready) -> Result<(), PollError> {
        if self.settings.events.is_empty() {
            return Ok(());
        }
        let index = |alias: &Option<String>| self.index(&ready.namespaces, alias);
        let (nodes, unknown) = events::resolve(&self.settings.events, index);
        if !unknown.is_empty() {
            ready.note(&format!("no alarms from namespace {}, which it has not", unknown.join(", ")));
        }
        if nodes.is_empty() {
            return Ok(());
        }
        let number = ready.silences.len();
        match events::listen(link, publishing, &nodes, &ready.events, &ready.inbox, number).await? {
            Ok(silence) => ready.silences.push(silence),
            Err(status) => ready.note(&format!("no alarms, the server refuses them ({status})")),
        }
        Ok(())
    }

    /// Opens a session, unless the server is better left alone.
    async fn open(&mut self) -> Result<Link, PollError> {
        self.pace.check(Instant::now())?;
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.device, &self.settings).await?).clone(),
        };
        self.opening = true;
        let opened = Link::open(&self.device, &self.settings, &client, &self.requests).await;
        self.opening = false;
        opened.map_err(|failed| {
            if failed.left_behind {
                self.pace.left_behind(Instant::now());
            }
            if failed.needs_rest {
                self.pace.rest(Instant::now(), failed.error.clone());
            }
            failed.error
        })
    }

    /// Ends a session; the server may hold it on when it does not confirm that.
    async fn end(&mut self, link: Link) {
        if !link.close().await {
            self.pace.left_behind(Instant::now());
        }
    }

    /// Fails when somebody has taken back the trust in this server.
    async fn check_trust(&mut self) -> Result<(), PollError> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let Some(seen) = live.link.listed.filter(|_| live.trust_seen.elapsed() > TRUST_CHECK) else {
            return Ok(());
        };
        live.trust_seen = Instant::now();
        let list = TrustList::new(&self.device.state_directory);
        match tokio::task::spawn_blocking(move || list.trusts(seen)).await {
            Ok(false) => Err(PollError::Security {
                what: format!("the server's certificate {seen} is trusted no longer"),
            }),
            _ => Ok(()),
        }
    }
}

impl Ready {
    /// The tags of these scan classes that are asked for.
    fn polled(&self, device: &DeviceSpec, due: &[usize]) -> Vec<u32> {
        (0u32..)
            .zip(device.tags.iter().zip(&self.polled))
            .filter(|(_, (tag, polled))| **polled && due.contains(&tag.scan))
            .map(|(number, _)| number)
            .collect()
    }

    /// Adds a word to what the device says of itself.
    fn note(&mut self, what: &str) {
        self.identity = format!("{} ({what})", self.identity).trim_start().to_owned();
    }
}

impl Live {
    fn new(link: Link, ready: Ready) -> Self {
        Self { link, ready, trust_seen: Instant::now(), recorded: None, asked: Asked::default() }
    }

    /// Reads these tags in as few requests as the server allows.
    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        if !self.asked.is_for(tags) {
            self.asked = Asked::new(tags, &self.ready.nodes, &self.ready.sources);
        }
        let begin = samples.len();
        self.asked.read(&self.link, &self.ready.sources, self.ready.read_chunk, samples).await?;
        if !self.asked.is_in_order() || !self.ready.sources.is_plain() {
            // A value may have fields that are not wanted now.
            let wanted: HashMap<u32, usize> = tags.iter().copied().zip(0..).collect();
            let mut read = samples.split_off(begin);
            read.retain(|sample| wanted.contains_key(&sample.tag));
            read.sort_by_key(|sample| wanted.get(&sample.tag));
            samples.append(&mut read);
        }
        Ok(())
    }

    /// Fails when the session is gone or a subscription has been silent for too long. The
    /// server may have forgotten the subscription, or the network swallows everything: both look
    /// the same, and only a new session helps.
    fn check(&self) -> Result<(), PollError> {
        self.link.check()?;
        let dead = |(number, limit): (usize, &Duration)| self.ready.inbox.silence(number) > *limit;
        match self.ready.silences.iter().enumerate().find(|(number, limit)| dead((*number, limit))) {
            Some((_, limit)) => Err(PollError::Timeout { waited: *limit }),
            None => Ok(()),
        }
    }
}

fn not_connected() -> PollError {
    PollError::Lost { cause: "not connected".into() }
}

#[async_trait]
impl Connector for OpcUaConnector {
    async fn connect(&mut self) -> Result<String, PollError> {
        if std::mem::take(&mut self.opening) {
            self.pace.left_behind(Instant::now());
        }
        if let Some(pace) = &self.request_pace {
            // The library sends these by itself; all later ones wait for their own turn.
            for _ in 0..HANDSHAKE_REQUESTS {
                pace.turn().await;
            }
        }
        // Never two sessions at a time.
        if let Some(old) = self.live.take() {
            self.end(old.link).await;
        }
        let mut link = self.open().await?;
        link.pace.clone_from(&self.request_pace);
        self.alarms.begin_session();
        self.opening = true;
        let prepared = self.prepare(&link).await;
        self.opening = false;
        match prepared {
            Ok(ready) => {
                let identity = ready.identity.clone();
                self.live = Some(Live::new(link, ready));
                Ok(identity)
            }
            Err(error) => {
                self.end(link).await;
                Err(error)
            }
        }
    }

    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        self.check_trust().await?;
        let live = self.live.as_mut().ok_or_else(not_connected)?;
        let before = samples.len();
        let polled = live.ready.polled(&self.device, due);
        if !polled.is_empty() {
            live.link.check()?;
            if let Err(error) = live.read(&polled, samples).await {
                // What arrived before is still true; the error comes with the next call.
                samples.truncate(before);
                live.ready.inbox.fail(error);
            }
        }
        live.ready.inbox.drain(samples)?;
        match live.check() {
            Err(error) if samples.len() == before => return Err(error),
            Err(error) => live.ready.inbox.fail(error),
            Ok(()) => {}
        }
        // Alarms are taken over without waiting, so that their names are looked up here.
        let Some(live) = &self.live else { return Ok(()) };
        match self.alarms.name_kinds(&live.link, &live.ready.events, live.ready.read_chunk).await {
            Err(error) if samples.len() == before => Err(error),
            Err(error) => {
                live.ready.inbox.fail(error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let live = self.live.as_mut().ok_or_else(not_connected)?;
        live.link.check()?;
        live.read(tags, samples).await
    }

    fn take_messages(&mut self, messages: &mut Vec<DeviceMessage>) {
        if let Some(live) = &self.live {
            self.alarms.take(&live.ready.events, &live.ready.namespaces, messages);
        }
    }

    async fn history(
        &mut self,
        from_us: i64,
        to_us: i64,
        max: usize,
        samples: &mut Vec<RawSample>,
    ) -> Result<bool, PollError> {
        let tags = &self.device.tags;
        let live = self.live.as_mut().filter(|_| self.settings.history);
        let Some(live) = live else { return Ok(false) };
        live.link.check()?;
        let recorded = match live.recorded.take() {
            Some(recorded) => recorded,
            None => {
                let known =
                    (0u32..).zip(tags.iter().zip(&live.ready.nodes)).filter_map(|(tag, (spec, node))| {
                        Some(Recorded { tag, node: node.clone()?, data_type: spec.data_type })
                    });
                // Structures are not among what is read of the past.
                let known = known.filter(|recorded| !live.ready.sources.is_field(recorded.tag));
                history::recorded(&live.link, known, live.ready.read_chunk).await?
            }
        };
        let kept = !recorded.is_empty()
            && history::read(&live.link, &recorded, (from_us, to_us), max, samples).await?;
        // A server that refuses once is not asked again on this connection.
        live.recorded = Some(if kept { recorded } else { Vec::new() });
        Ok(kept)
    }

    fn silence(&self) -> Duration {
        let Some(Live { ready, .. }) = &self.live else { return Duration::ZERO };
        (0..ready.silences.len()).map(|number| ready.inbox.silence(number)).min().unwrap_or_default()
    }

    fn set_pace(&mut self, pace: Arc<dyn RequestPace>) {
        self.request_pace = Some(pace);
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn refusal(&self, tag: u32) -> Option<String> {
        self.live.as_ref()?.ready.sources.refusal(tag).cloned()
    }

    async fn close(&mut self) {
        if let Some(live) = self.live.take() {
            self.end(live.link).await;
        }
    }
}
