//! The connector: what the poller sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{Connector, DeviceSpec, OpenFault, Pace, PollError, RawSample};
use opcua::client::Client;
use opcua::types::{NodeId, ReadValueId};

use crate::address::NodeAddress;
use crate::decode;
use crate::inbox::Inbox;
use crate::session::{Link, client};
use crate::settings::Settings;
use crate::subscribe::{Silences, subscribe};

/// Requests of a handshake: endpoints, channel, session, activation, what the server says of itself.
const HANDSHAKE_REQUESTS: usize = 5;

/// A device read over OPC UA.
pub(crate) struct OpcUaConnector {
    device: DeviceSpec,
    settings: Settings,
    addresses: Vec<NodeAddress>,
    client: Option<Arc<Client>>,
    live: Option<Live>,
    requests: Arc<AtomicU64>,
    pace: Option<Arc<dyn Pace>>,
}

/// Everything that ends with the session.
struct Live {
    link: Link,
    inbox: Arc<Inbox>,
    silences: Silences,
    /// For each tag its id on this server, until the server's next start.
    nodes: Vec<Option<NodeId>>,
    read_chunk: usize,
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
        Ok(Self { device, settings, addresses, client: None, live: None, requests, pace: None })
    }

    /// The ids on a server with these namespaces; a tag whose namespace it lacks has none.
    fn resolve(&self, namespaces: &[String]) -> Result<Vec<Option<NodeId>>, PollError> {
        let index = |alias: &Option<String>| {
            let Some(alias) = alias else { return Some(0) };
            let uri = self.settings.namespaces.get(alias)?;
            namespaces.iter().position(|known| known == uri).and_then(|index| u16::try_from(index).ok())
        };
        let nodes: Vec<_> =
            self.addresses.iter().map(|address| Some(address.resolve(index(&address.alias)?))).collect();
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

    /// Reads these tags in as few requests as the server allows.
    async fn read_tags(
        &self,
        live: &Live,
        tags: &[u32],
        samples: &mut Vec<RawSample>,
    ) -> Result<(), PollError> {
        for chunk in tags.chunks(live.read_chunk) {
            let known: Vec<(u32, ReadValueId)> = chunk
                .iter()
                .filter_map(|tag| Some((*tag, ReadValueId::from(live.nodes.get(*tag as usize)?.clone()?))))
                .collect();
            let nodes: Vec<_> = known.iter().map(|(_, node)| node.clone()).collect();
            self.turns(1).await;
            let answers = if nodes.is_empty() { Vec::new() } else { live.link.read(&nodes).await? };
            let mut answered = known.iter().zip(answers).peekable();
            for tag in chunk {
                samples.push(match answered.next_if(|((number, _), _)| number == tag) {
                    Some((_, answer)) => {
                        decode::sample(*tag, self.device.tags[*tag as usize].data_type, answer)
                    }
                    None => decode::refused(*tag),
                });
            }
        }
        Ok(())
    }

    /// Waits for the turns of so many requests, when the device has a budget.
    async fn turns(&self, requests: usize) {
        if let Some(pace) = &self.pace {
            for _ in 0..requests {
                pace.turn().await;
            }
        }
    }

    fn live(&self) -> Result<&Live, PollError> {
        self.live.as_ref().ok_or_else(|| PollError::Lost { cause: "not connected".into() })
    }

    /// Everything that follows the opening of the session.
    async fn prepare(
        &self,
        link: &Link,
    ) -> Result<(Arc<Inbox>, Silences, Vec<Option<NodeId>>, usize, String), PollError> {
        let facts = link.facts().await?;
        let nodes = self.resolve(&facts.namespaces)?;
        let inbox = Arc::new(Inbox::new(self.device.tags.len(), self.device.scans.len()));
        let mut silences = Silences::new();
        if !self.settings.polled {
            for (tag, _) in (0u32..).zip(&nodes).filter(|(_, node)| node.is_none()) {
                inbox.push(decode::refused(tag));
            }
            let publishing = self.settings.publishing;
            silences = subscribe(&self.device, publishing, link, facts.item_chunk, &nodes, &inbox).await?;
        }
        Ok((inbox, silences, nodes, facts.read_chunk, facts.identity))
    }
}

impl Live {
    /// Fails when the session is gone or a subscription has been silent for too long. The
    /// server may have forgotten the subscription, or the network swallows everything: both look
    /// the same, and only a new session helps.
    fn check(&self) -> Result<(), PollError> {
        self.link.check()?;
        let dead = |(number, limit): (usize, &Duration)| self.inbox.silence(number) > *limit;
        match self.silences.iter().enumerate().find(|(number, limit)| dead((*number, limit))) {
            Some((_, limit)) => Err(PollError::Timeout { waited: *limit }),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Connector for OpcUaConnector {
    async fn connect(&mut self) -> Result<String, PollError> {
        if let Some(old) = self.live.take() {
            old.link.close().await;
        }
        let subscriptions = if self.settings.polled { 0 } else { 2 * self.device.scans.len() };
        self.turns(HANDSHAKE_REQUESTS + subscriptions).await;
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.device, &self.settings).await?).clone(),
        };
        let link = Link::open(&self.device, &self.settings, &client, &self.requests).await?;
        match self.prepare(&link).await {
            Ok((inbox, silences, nodes, read_chunk, identity)) => {
                self.live = Some(Live { link, inbox, silences, nodes, read_chunk });
                Ok(identity)
            }
            Err(error) => {
                link.close().await;
                Err(error)
            }
        }
    }

    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let live = self.live()?;
        if !self.settings.polled {
            let before = samples.len();
            live.inbox.drain(samples)?;
            // What arrived before the end is still true.
            return if samples.len() > before { Ok(()) } else { live.check() };
        }
        live.link.check()?;
        let tags: Vec<u32> = (0u32..)
            .zip(&self.device.tags)
            .filter(|(_, tag)| due.contains(&tag.scan))
            .map(|(number, _)| number)
            .collect();
        self.read_tags(live, &tags, samples).await
    }

    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        let live = self.live()?;
        live.link.check()?;
        self.read_tags(live, tags, samples).await
    }

    fn set_pace(&mut self, pace: Arc<dyn Pace>) {
        self.pace = Some(pace);
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    async fn close(&mut self) {
        if let Some(live) = self.live.take() {
            live.link.close().await;
        }
    }
}
