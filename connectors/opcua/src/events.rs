//! Alarms and conditions, and messages that neither come nor go (Part 9; Part 5, 6.4).
//!
//! The server sends events in a subscription of their own. What it sends passes a bounded queue to
//! the poller; [`Alarms`] turns it into messages and remembers which alarms are on. After each
//! connection the server is asked to send all alarms that are on (ConditionRefresh): those that are
//! known already are not told twice, and one that was on before and is not any more has ended while
//! nobody was listening. That holds also when the connector is another one by then: after a reload,
//! or for the backup address.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use forebay_connector::{DeviceMessage, PollError};
use opcua::client::{MonitoredItemMap, OnSubscriptionNotificationCore};
use opcua::types::{
    AttributeId, CallMethodRequest, EventFilter, EventNotificationList, ExtensionObject, Identifier,
    MethodId, MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId, NotificationMessage,
    NumericRange, ObjectTypeId, QualifiedName, ReadValueId, SimpleAttributeOperand, StatusChangeNotification,
    StatusCode, TimestampsToReturn, Variant,
};

use crate::address::NodeAddress;
use crate::inbox::Inbox;
use crate::session::Link;
use crate::subscribe::{create, is_filter_fault};

/// Events that may wait for the poller.
const WAITING_MAX: usize = 2000;
/// Events that the server is asked to keep between two messages.
const QUEUE_SIZE: u32 = 1000;
/// Alarms that are remembered, so that none is told twice.
const ALARMS_MAX: usize = 10_000;
/// Devices whose alarms are kept for their next connector.
const LEFT_MAX: usize = 256;
/// Kinds whose names are remembered.
const KINDS_MAX: usize = 500;
/// Longest text of a message, in characters.
const TEXT_MAX: usize = 1000;
/// Longest name in a message, in characters.
const NAME_MAX: usize = 200;

/// What is asked for of each event, in this order: first what every event has (Part 5, 6.4.2),
/// then what conditions have (Part 9, 5.5 to 5.8).
const FIELDS: [(ObjectTypeId, &[&str]); 10] = [
    (ObjectTypeId::BaseEventType, &["EventType"]),
    (ObjectTypeId::BaseEventType, &["SourceName"]),
    (ObjectTypeId::BaseEventType, &["Time"]),
    (ObjectTypeId::BaseEventType, &["Message"]),
    (ObjectTypeId::BaseEventType, &["Severity"]),
    // The NodeId of the condition itself has no path.
    (ObjectTypeId::ConditionType, &[]),
    (ObjectTypeId::AlarmConditionType, &["ActiveState", "Id"]),
    (ObjectTypeId::AcknowledgeableConditionType, &["AckedState", "Id"]),
    (ObjectTypeId::ConditionType, &["Retain"]),
    (ObjectTypeId::ConditionType, &["BranchId"]),
];
/// Fields that a server without conditions has, too.
const BASE_FIELDS: usize = 5;

/// One event as it came, fields in the order of [`FIELDS`].
#[derive(Debug, Clone, Default)]
struct Event {
    kind: NodeId,
    source: String,
    source_us: Option<i64>,
    text: String,
    severity: u16,
    condition: Option<NodeId>,
    active: Option<bool>,
    acknowledged: Option<bool>,
    retain: Option<bool>,
    /// A branch is an earlier state of a condition, of interest to those who acknowledge.
    is_branch: bool,
}

impl Event {
    fn read(fields: Vec<Variant>) -> Self {
        let mut event = Self::default();
        let bit = |value| match value {
            Variant::Boolean(bit) => Some(bit),
            _ => None,
        };
        for (position, value) in fields.into_iter().enumerate() {
            match (position, value) {
                (0, Variant::NodeId(kind)) => event.kind = *kind,
                (1, Variant::String(name)) => event.source = clip(name.as_ref(), NAME_MAX),
                (2, Variant::DateTime(time)) if !time.is_null() => {
                    event.source_us = Some(time.as_chrono().timestamp_micros());
                }
                (3, Variant::LocalizedText(text)) => event.text = clip(text.text.as_ref(), TEXT_MAX),
                (3, Variant::String(text)) => event.text = clip(text.as_ref(), TEXT_MAX),
                (4, Variant::UInt16(severity)) => event.severity = severity,
                (5, Variant::NodeId(id)) if !id.is_null() => event.condition = Some(*id),
                (6, value) => event.active = bit(value),
                (7, value) => event.acknowledged = bit(value),
                (8, value) => event.retain = bit(value),
                (9, Variant::NodeId(branch)) => event.is_branch = !branch.is_null(),
                _ => {}
            }
        }
        event
    }
}

fn clip(text: &str, length: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(length).collect()
}

/// Events on their way from the library's task to the poller.
#[derive(Default)]
pub(crate) struct EventQueue {
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    dropped: u64,
}

impl EventQueue {
    fn push(&self, event: Event) {
        let mut waiting = self.lock();
        if waiting.events.len() == WAITING_MAX {
            waiting.events.pop_front();
            waiting.dropped += 1;
        }
        waiting.events.push_back(event);
    }

    /// Kinds among the waiting events whose names are to be looked up.
    fn kinds(&self) -> HashSet<NodeId> {
        self.lock().events.iter().map(|event| event.kind.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the notifications of the subscription, in the library's task.
struct Listener {
    queue: Arc<EventQueue>,
    inbox: Arc<Inbox>,
    /// Number of the subscription in the inbox.
    subscription: usize,
    /// Number that the next message with events must have.
    next: Option<u32>,
}

impl OnSubscriptionNotificationCore for Listener {
    fn on_subscription_notification(&mut self, message: NotificationMessage, _: MonitoredItemMap<'_>) {
        self.inbox.hear(self.subscription);
        let Some(notifications) = message.notification_data.filter(|data| !data.is_empty()) else { return };
        // A hole is lost events; a new subscription asks for all alarms that are on.
        let number = message.sequence_number;
        if self.next.is_some_and(|next| next != number) {
            let cause = format!("message {number} came instead of {:?}, events are missing", self.next);
            self.inbox.fail(PollError::Lost { cause });
        }
        self.next = Some(number.checked_add(1).unwrap_or(1));
        for notification in notifications {
            if let Some(change) = notification.inner_as::<StatusChangeNotification>() {
                if change.status.is_bad() {
                    let cause =
                        format!("the server has ended the subscription of events ({})", change.status);
                    self.inbox.fail(PollError::Lost { cause });
                }
            } else if let Some(list) = notification.into_inner_as::<EventNotificationList>() {
                for event in list.events.into_iter().flatten() {
                    self.queue.push(Event::read(event.event_fields.unwrap_or_default()));
                }
            }
        }
    }
}

/// Subscribes to the events of these nodes. Returns how long the subscription may be silent, or
/// why there are no events.
pub(crate) async fn listen(
    link: &Link,
    publishing: Duration,
    nodes: &[NodeId],
    queue: &Arc<EventQueue>,
    inbox: &Arc<Inbox>,
    subscription: usize,
) -> Result<Result<Duration, StatusCode>, PollError> {
    let listener = Listener { queue: queue.clone(), inbox: inbox.clone(), subscription, next: None };
    let (id, silence) = match create(link, publishing, listener).await? {
        Ok(created) => created,
        Err(status) => return Ok(Err(status)),
    };
    let mut refused = None;
    for fields in [FIELDS.len(), BASE_FIELDS] {
        let items = nodes.iter().zip(1..).map(|(node, handle)| item(node, handle, fields)).collect();
        let creating = link.session.create_monitored_items(id, TimestampsToReturn::Both, items);
        let results = match link.ask(creating).await? {
            Ok(results) => results,
            Err(status) => return Ok(Err(status)),
        };
        refused = results.iter().map(|made| made.result.status_code).find(|status| status.is_bad());
        if !refused
            .is_some_and(|status| is_filter_fault(status) || status == StatusCode::BadEventFilterInvalid)
        {
            break;
        }
    }
    if let Some(status) = refused {
        link.ask(link.session.delete_subscription(id)).await?.ok();
        return Ok(Err(status));
    }
    inbox.hear(subscription);
    // A server without conditions refuses this, and has nothing to tell.
    let refresh = CallMethodRequest {
        object_id: ObjectTypeId::ConditionType.into(),
        method_id: MethodId::ConditionType_ConditionRefresh.into(),
        input_arguments: Some(vec![Variant::UInt32(id)]),
    };
    link.ask(link.session.call_one(refresh)).await?.ok();
    Ok(Ok(silence))
}

fn item(node: &NodeId, handle: u32, fields: usize) -> MonitoredItemCreateRequest {
    let clause = |(kind, path): &(ObjectTypeId, &[&str])| SimpleAttributeOperand {
        type_definition_id: (*kind).into(),
        browse_path: Some(path.iter().map(|name| QualifiedName::new(0, *name)).collect()),
        attribute_id: if path.is_empty() { AttributeId::NodeId } else { AttributeId::Value } as u32,
        index_range: NumericRange::None,
    };
    let filter = EventFilter {
        select_clauses: Some(FIELDS[..fields].iter().map(clause).collect()),
        ..Default::default()
    };
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::EventNotifier as u32,
            ..Default::default()
        },
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: handle,
            sampling_interval: 0.0,
            filter: ExtensionObject::from_message(filter),
            queue_size: QUEUE_SIZE,
            discard_oldest: true,
        },
    }
}

/// The last message about each condition that is on.
type Known = HashMap<String, DeviceMessage>;

/// What connectors that are gone knew, by folder and name of their device: the name alone may be that
/// of a device of another box in the same process.
static LEFT: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());

/// What is known of the alarms of one device, over all its connections.
#[derive(Default)]
pub(crate) struct Alarms {
    device: String,
    /// There has been a session: what is known is to be left to the next connector.
    begun: bool,
    known: Known,
    /// Conditions that the server has named since it began to send all that are on.
    refreshed: Option<HashSet<String>>,
    /// Names of the server's own kinds; an id means another kind after its restart.
    kinds: HashMap<NodeId, String>,
}

impl Drop for Alarms {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        left.remove(&self.device);
        if !self.known.is_empty() && left.len() < LEFT_MAX {
            left.insert(std::mem::take(&mut self.device), std::mem::take(&mut self.known));
        }
    }
}

impl Alarms {
    /// The alarms of the device that is told apart from all others by this text.
    pub(crate) fn of(device: &str) -> Self {
        let mut alarms = Self::default();
        device.clone_into(&mut alarms.device);
        alarms
    }

    /// Forgets what holds for one session only. The first session takes over what an earlier
    /// connector knew; not before, because that one may still be there when this one is made.
    pub(crate) fn begin_session(&mut self) {
        self.kinds.clear();
        self.refreshed = None;
        if !std::mem::replace(&mut self.begun, true) {
            let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
            self.known = left.remove(&self.device).unwrap_or_default();
        }
    }

    /// Looks up the names of kinds that no standard names.
    pub(crate) async fn name_kinds(
        &mut self,
        link: &Link,
        queue: &EventQueue,
        read_chunk: usize,
    ) -> Result<(), PollError> {
        let unknown: Vec<NodeId> = queue
            .kinds()
            .into_iter()
            .filter(|kind| kind.namespace != 0 && !self.kinds.contains_key(kind))
            .take(KINDS_MAX.saturating_sub(self.kinds.len()))
            .collect();
        let name = |kind: &NodeId| ReadValueId {
            node_id: kind.clone(),
            attribute_id: AttributeId::BrowseName as u32,
            ..Default::default()
        };
        for chunk in unknown.chunks(read_chunk) {
            let names = link.read(&chunk.iter().map(name).collect::<Vec<_>>()).await?;
            for (kind, answer) in chunk.iter().zip(names) {
                let name = match answer.value {
                    Some(Variant::QualifiedName(name)) => clip(name.name.as_ref(), NAME_MAX),
                    _ => kind.to_string(),
                };
                self.kinds.insert(kind.clone(), name);
            }
        }
        Ok(())
    }

    /// Turns what waits into messages, oldest first.
    pub(crate) fn take(
        &mut self,
        queue: &EventQueue,
        namespaces: &[String],
        messages: &mut Vec<DeviceMessage>,
    ) {
        let waiting = std::mem::take(&mut *queue.lock());
        if waiting.dropped > 0 {
            messages.push(lost(waiting.dropped));
        }
        for event in waiting.events {
            match standard_kind(&event.kind) {
                Some(ObjectTypeId::RefreshStartEventType) => self.refreshed = Some(HashSet::new()),
                // What a full queue has dropped has not ended.
                Some(ObjectTypeId::RefreshEndEventType) if waiting.dropped == 0 => self.end_refresh(messages),
                Some(ObjectTypeId::RefreshEndEventType | ObjectTypeId::RefreshRequiredEventType) => {
                    self.refreshed = None;
                }
                _ if event.is_branch => {}
                _ => self.tell(event, namespaces, messages),
            }
        }
    }

    fn tell(&mut self, event: Event, namespaces: &[String], messages: &mut Vec<DeviceMessage>) {
        let kind = match standard_kind(&event.kind) {
            Some(kind) => format!("{kind:?}"),
            None => self.kinds.get(&event.kind).cloned().unwrap_or_else(|| event.kind.to_string()),
        };
        let condition = event.condition.as_ref().map(|id| lasting(id, namespaces)).unwrap_or_default();
        let message = DeviceMessage {
            source_us: event.source_us,
            source: event.source,
            kind,
            text: event.text,
            severity: event.severity,
            active: event.active,
            acknowledged: event.acknowledged,
            condition: condition.clone(),
        };
        if condition.is_empty() {
            messages.push(message);
            return;
        }
        let repeated = self.refreshed.as_mut().is_some_and(|refreshed| {
            refreshed.insert(condition.clone());
            self.known.get(&condition) == Some(&message)
        });
        if event.retain == Some(false) || message.active == Some(false) {
            self.known.remove(&condition);
        } else if self.known.len() < ALARMS_MAX || self.known.contains_key(&condition) {
            self.known.insert(condition, message.clone());
        }
        if !repeated {
            messages.push(message);
        }
    }

    /// Whatever was on and has not been named has ended in the meantime; nobody knows when.
    fn end_refresh(&mut self, messages: &mut Vec<DeviceMessage>) {
        let Some(refreshed) = self.refreshed.take() else { return };
        let ended: Vec<String> =
            self.known.keys().filter(|condition| !refreshed.contains(*condition)).cloned().collect();
        for condition in ended {
            if let Some(last) = self.known.remove(&condition).filter(|last| last.active == Some(true)) {
                messages.push(DeviceMessage { source_us: None, active: Some(false), ..last });
            }
        }
    }
}

fn standard_kind(kind: &NodeId) -> Option<ObjectTypeId> {
    match kind.identifier {
        Identifier::Numeric(number) if kind.namespace == 0 => ObjectTypeId::try_from(number).ok(),
        _ => None,
    }
}

/// An id that stays the same when the server numbers its namespaces anew.
fn lasting(id: &NodeId, namespaces: &[String]) -> String {
    let text = match namespaces.get(usize::from(id.namespace)) {
        Some(uri) if id.namespace > 0 => format!("nsu={uri};{}", id.identifier),
        _ => id.to_string(),
    };
    clip(&text, 2 * NAME_MAX)
}

/// The standard has a kind for it on the server's side (Part 4, 7.22.3); this one is ours.
fn lost(count: u64) -> DeviceMessage {
    DeviceMessage {
        source_us: None,
        source: "Forebay".into(),
        kind: "EventQueueOverflowEventType".into(),
        text: format!("{count} messages of this device are lost: they came faster than they were taken"),
        severity: 500,
        active: None,
        acknowledged: None,
        condition: String::new(),
    }
}

/// The ids of the nodes whose events are wanted, and the aliases that this server does not know.
pub(crate) fn resolve(
    wanted: &[NodeAddress],
    index: impl Fn(&Option<String>) -> Option<u16>,
) -> (Vec<NodeId>, Vec<String>) {
    let mut unknown = Vec::new();
    let nodes = wanted
        .iter()
        .filter_map(|address| match index(&address.alias) {
            Some(index) => Some(address.resolve(index)),
            None => {
                unknown.extend(address.alias.clone());
                None
            }
        })
        .collect();
    (nodes, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opcua::types::{DateTime, LocalizedText, UAString};

    fn event(kind: ObjectTypeId, condition: u32, active: bool, second: u16) -> Event {
        Event::read(vec![
            Variant::from(NodeId::from(kind)),
            Variant::from(UAString::from("Press")),
            Variant::from(DateTime::ymd_hms(2026, 3, 2, 10, 0, second)),
            Variant::from(LocalizedText::new("de", "Öl zu heiß\n")),
            Variant::from(700u16),
            Variant::from(NodeId::new(1, condition)),
            Variant::from(active),
            Variant::from(false),
            Variant::from(active),
            Variant::from(NodeId::null()),
        ])
    }

    fn taken(alarms: &mut Alarms, events: Vec<Event>) -> Vec<DeviceMessage> {
        let queue = EventQueue::default();
        events.into_iter().for_each(|event| queue.push(event));
        let mut messages = Vec::new();
        alarms.take(&queue, &["http://opcfoundation.org/UA/".into(), "urn:plc".into()], &mut messages);
        messages
    }

    fn refresh(events: Vec<Event>) -> Vec<Event> {
        let mark = |kind| Event { kind: NodeId::from(kind), ..Event::default() };
        let (start, end) = (ObjectTypeId::RefreshStartEventType, ObjectTypeId::RefreshEndEventType);
        [vec![mark(start)], events, vec![mark(end)]].concat()
    }

    const ALARM: ObjectTypeId = ObjectTypeId::OffNormalAlarmType;

    #[test]
    fn an_alarm_comes_and_goes() {
        let mut alarms = Alarms::default();
        let told = taken(&mut alarms, vec![event(ALARM, 7, true, 1), event(ALARM, 7, false, 2)]);
        assert_eq!(told.len(), 2);
        assert_eq!((told[0].active, told[1].active), (Some(true), Some(false)));
        assert_eq!(told[0].condition, "nsu=urn:plc;i=7");
        assert_eq!((told[0].kind.as_str(), told[0].severity), ("OffNormalAlarmType", 700));
        assert_eq!((told[0].source.as_str(), told[0].text.as_str()), ("Press", "Öl zu heiß "));
        assert!(alarms.known.is_empty());
    }

    #[test]
    fn after_a_new_connection_only_news_are_told() {
        let mut alarms = Alarms::of("one connector");
        alarms.begin_session();
        taken(
            &mut alarms,
            vec![event(ALARM, 7, true, 1), event(ALARM, 8, true, 1), event(ALARM, 9, true, 1)],
        );
        alarms.begin_session();
        // 7 is as it was, 8 has come once more, 9 is over, 10 is new.
        let now = vec![event(ALARM, 7, true, 1), event(ALARM, 8, true, 5), event(ALARM, 10, true, 6)];
        let told = taken(&mut alarms, refresh(now));
        let told: Vec<_> =
            told.iter().map(|m| (m.condition.as_str(), m.active, m.source_us.is_some())).collect();
        assert_eq!(
            told,
            [
                ("nsu=urn:plc;i=8", Some(true), true),
                ("nsu=urn:plc;i=10", Some(true), true),
                ("nsu=urn:plc;i=9", Some(false), false)
            ]
        );
    }

    #[test]
    fn another_connector_of_the_device_goes_on_with_its_alarms() {
        let mut first = Alarms::of("two connectors");
        first.begin_session();
        taken(&mut first, vec![event(ALARM, 7, true, 1), event(ALARM, 9, true, 1)]);
        // Made before the first one is gone, as for a backup address.
        let mut second = Alarms::of("two connectors");
        drop(Alarms::of("two connectors")); // one that never connects takes nothing away
        drop(first);
        second.begin_session();
        let told = taken(&mut second, refresh(vec![event(ALARM, 7, true, 1)]));
        let told: Vec<_> = told.iter().map(|m| (m.condition.as_str(), m.active)).collect();
        assert_eq!(told, [("nsu=urn:plc;i=9", Some(false))], "7 is known, 9 has ended");
        let mut other = Alarms::of("another device");
        other.begin_session();
        assert!(other.known.is_empty());
    }

    #[test]
    fn messages_without_condition_pass_and_floods_are_counted() {
        let mut alarms = Alarms::default();
        let plain = Event { kind: ObjectTypeId::BaseEventType.into(), ..Event::default() };
        assert_eq!(taken(&mut alarms, vec![plain.clone(); 3]).len(), 3);
        let told = taken(&mut alarms, vec![plain; WAITING_MAX + 5]);
        assert_eq!(told.len(), WAITING_MAX + 1);
        assert!(told[0].text.starts_with("5 messages"), "{:?}", told[0]);
    }

    #[test]
    fn a_hostile_event_is_a_poor_one() {
        let event = Event::read(vec![Variant::from(1u8); 40]);
        assert!(event.condition.is_none() && event.active.is_none() && event.text.is_empty());
        let long = Event::read(vec![Variant::Empty, Variant::from("x".repeat(1 << 16))]);
        assert_eq!(long.source.len(), NAME_MAX);
    }
}
