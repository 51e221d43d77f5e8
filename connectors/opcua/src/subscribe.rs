//! One subscription per scan class, one monitored item per tag.

use std::sync::Arc;
use std::time::Duration;

use forebay_connector::{DeviceSpec, PollError};
use opcua::client::{MonitoredItemMap, OnSubscriptionNotificationCore};
use opcua::types::{
    DataChangeFilter, DataChangeNotification, DataChangeTrigger, DeadbandType, ExtensionObject,
    MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId, NotificationMessage,
    ReadValueId, StatusChangeNotification, StatusCode, TimestampsToReturn,
};

use crate::decode;
use crate::inbox::Inbox;
use crate::session::Link;
use crate::sources::Sources;

/// A quiet subscription says that it is alive about this often.
const QUIET: Duration = Duration::from_secs(2);
/// Keep-alives that may be missing before the subscription counts as dead.
const KEEP_ALIVES_MISSED: u32 = 3;
/// The server drops a subscription nobody asks about after so many keep-alives; at least 3
/// (Part 4, 5.13.2).
const LIFETIME_KEEP_ALIVES: u32 = 15;
/// Values of one message; more come at once in the next.
const VALUES_PER_MESSAGE: u32 = 1000;
/// Least values the server keeps for a tag between two messages.
const QUEUE_MIN: u32 = 10;
/// Most values the server is asked to keep for a tag.
const QUEUE_MAX: u32 = 1000;

/// How long each subscription may be silent, index = its number in the inbox.
pub(crate) type Silences = Vec<Duration>;

/// What the server has made of our wishes.
pub(crate) struct Subscribed {
    pub(crate) silences: Silences,
    /// For each tag: the server will not send it by itself, so that it has to be asked for.
    pub(crate) polled: Vec<bool>,
    /// Why some tags are polled.
    pub(crate) why: Option<StatusCode>,
}

impl Subscribed {
    /// All tags polled, or none.
    pub(crate) fn none(tags: usize, polled: bool) -> Self {
        Self { silences: Vec::new(), polled: vec![polled; tags], why: None }
    }
}

/// Creates all subscriptions. Tags that the server refuses become one sample each; those for which
/// it has no room are polled.
///
/// `nodes` holds for each tag its id on this server, `None` where it has none.
pub(crate) async fn subscribe(
    device: &DeviceSpec,
    publishing: Duration,
    link: &Link,
    item_chunk: usize,
    nodes: &[Option<NodeId>],
    sources: &Arc<Sources>,
    inbox: &Arc<Inbox>,
) -> Result<Subscribed, PollError> {
    let mut made = Subscribed::none(nodes.len(), false);
    for (scan, class) in device.scans.iter().enumerate() {
        let tags: Vec<u32> = (0u32..)
            .zip(device.tags.iter())
            .filter(|(number, tag)| tag.scan == scan && nodes[*number as usize].is_some())
            .map(|(number, _)| number)
            .filter(|number| sources.leader(*number) == *number)
            .collect();
        if tags.is_empty() {
            continue;
        }
        let subscription = made.silences.len();
        let listener = Listener { inbox: inbox.clone(), sources: sources.clone(), subscription, next: None };
        let (id, silence) = match create(link, publishing, listener).await? {
            Ok(created) => created,
            Err(status) => {
                made.poll(&tags, status);
                continue;
            }
        };
        let (tags_before, mut asked) = (made.polled.iter().filter(|polled| **polled).count(), 0);
        for chunk in tags.chunks(item_chunk) {
            let item = |tag: &u32| {
                let deadband = device.tags[*tag as usize].deadband.filter(|_| !sources.is_field(*tag));
                request(*tag, nodes[*tag as usize].clone(), deadband, publishing, class.interval)
            };
            let items = chunk.iter().map(item).collect();
            monitor(link, id, items, (sources.as_ref(), inbox.as_ref()), &mut made).await?;
            asked += chunk.len();
        }
        let polled = made.polled.iter().filter(|polled| **polled).count() - tags_before;
        if polled == asked {
            // Without items it would be of no use, and is missed by those who have no room.
            link.ask(link.session.delete_subscription(id)).await?.ok();
            continue;
        }
        inbox.hear(subscription);
        made.silences.push(silence);
    }
    // What holds for the one that is asked for holds for all that come with it.
    for tag in 0..made.polled.len() {
        made.polled[tag] = u32::try_from(tag).is_ok_and(|it| made.polled[sources.leader(it) as usize]);
    }
    Ok(made)
}

impl Subscribed {
    fn poll(&mut self, tags: &[u32], status: StatusCode) {
        self.why.get_or_insert(status);
        for tag in tags {
            self.polled[*tag as usize] = true;
        }
    }
}

/// True when the server has no room for more subscriptions, or has none at all: its values can be
/// asked for nevertheless.
fn is_no_room(status: StatusCode) -> bool {
    [
        StatusCode::BadServiceUnsupported,
        StatusCode::BadNotImplemented,
        StatusCode::BadNotSupported,
        StatusCode::BadTooManySubscriptions,
        StatusCode::BadTooManyMonitoredItems,
        StatusCode::BadTooManyPublishRequests,
        StatusCode::BadResourceUnavailable,
        StatusCode::BadOutOfMemory,
        StatusCode::BadMonitoringModeInvalid,
    ]
    .contains(&status)
}

/// Creates one subscription; returns its id and how long it may be silent, or why the server has
/// no room for it.
pub(crate) async fn create(
    link: &Link,
    publishing: Duration,
    listener: impl OnSubscriptionNotificationCore + 'static,
) -> Result<Result<(u32, Duration), StatusCode>, PollError> {
    let per_keep_alive = QUIET.as_millis().div_ceil(publishing.as_millis().max(1));
    let keep_alive = u32::try_from(per_keep_alive).unwrap_or(1).max(1);
    let lifetime = keep_alive * LIFETIME_KEEP_ALIVES;
    let creating = link.session.create_subscription(
        publishing,
        lifetime,
        keep_alive,
        VALUES_PER_MESSAGE,
        0,
        true,
        listener,
    );
    let id = match link.ask(creating).await? {
        Ok(id) => id,
        Err(status) if is_no_room(status) => return Ok(Err(status)),
        Err(status) => {
            let cause = format!("the server refuses a subscription ({status})");
            return Err(PollError::Lost { cause });
        }
    };
    // What the server made of our wishes.
    let state = link.session.subscription_state.lock();
    let revised =
        state.get(id).map(|made| made.publishing_interval().saturating_mul(made.max_keep_alive_count()));
    let quiet = revised.unwrap_or(QUIET).clamp(QUIET.min(publishing), Duration::from_secs(600));
    Ok(Ok((id, quiet * KEEP_ALIVES_MISSED + publishing)))
}

fn request(
    tag: u32,
    node: Option<NodeId>,
    deadband: Option<f64>,
    publishing: Duration,
    sampling: Duration,
) -> MonitoredItemCreateRequest {
    let filter = match deadband {
        Some(deadband) if deadband > 0.0 => ExtensionObject::from_message(DataChangeFilter {
            trigger: DataChangeTrigger::StatusValue,
            deadband_type: DeadbandType::Absolute as u32,
            deadband_value: deadband,
        }),
        _ => ExtensionObject::null(),
    };
    let between = publishing.as_millis().div_ceil(sampling.as_millis().max(1));
    let queue_size = u32::try_from(between * 2).unwrap_or(QUEUE_MAX).clamp(QUEUE_MIN, QUEUE_MAX);
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::from(node.unwrap_or_default()),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            // The library gives a number of its own to handle 0.
            client_handle: tag + 1,
            sampling_interval: sampling.as_secs_f64() * 1e3,
            filter,
            queue_size,
            discard_oldest: true,
        },
    }
}

/// Creates items; those whose deadband the server does not know are created without.
async fn monitor(
    link: &Link,
    subscription: u32,
    items: Vec<MonitoredItemCreateRequest>,
    (sources, inbox): (&Sources, &Inbox),
    made: &mut Subscribed,
) -> Result<(), PollError> {
    let asked = items.clone();
    let tag = |item: &MonitoredItemCreateRequest| item.requested_parameters.client_handle - 1;
    let creating = link.session.create_monitored_items(subscription, TimestampsToReturn::Both, items);
    let results = match link.ask(creating).await? {
        Ok(results) => results,
        Err(status) if is_no_room(status) => {
            made.poll(&asked.iter().map(tag).collect::<Vec<_>>(), status);
            return Ok(());
        }
        Err(status) => {
            let cause = format!("the server monitors nothing ({status})");
            return Err(PollError::Lost { cause });
        }
    };
    if results.len() != asked.len() {
        let what = format!("{} items asked for, {} came", asked.len(), results.len());
        return Err(PollError::Mismatch { what });
    }
    let mut plain = Vec::new();
    for (mut item, created) in asked.into_iter().zip(results) {
        let status = created.result.status_code;
        if !status.is_bad() {
            continue;
        }
        if is_filter_fault(status) && !item.requested_parameters.filter.is_null() {
            item.requested_parameters.filter = ExtensionObject::null();
            plain.push(item);
        } else if is_no_room(status) {
            made.poll(&[tag(&item)], status);
        } else {
            sources.followers(tag(&item)).for_each(|tag| inbox.push(decode::refused(tag)));
        }
    }
    if plain.is_empty() {
        Ok(())
    } else {
        Box::pin(monitor(link, subscription, plain, (sources, inbox), made)).await
    }
}

pub(crate) fn is_filter_fault(status: StatusCode) -> bool {
    [
        StatusCode::BadFilterNotAllowed,
        StatusCode::BadMonitoredItemFilterInvalid,
        StatusCode::BadMonitoredItemFilterUnsupported,
        StatusCode::BadDeadbandFilterInvalid,
    ]
    .contains(&status)
}

/// Takes the notifications of one subscription, in the library's task.
struct Listener {
    inbox: Arc<Inbox>,
    sources: Arc<Sources>,
    /// Number of the subscription in the inbox.
    subscription: usize,
    /// Number that the next message with values must have.
    next: Option<u32>,
}

impl OnSubscriptionNotificationCore for Listener {
    fn on_subscription_notification(&mut self, message: NotificationMessage, _: MonitoredItemMap<'_>) {
        self.receive(message);
    }
}

impl Listener {
    fn receive(&mut self, message: NotificationMessage) {
        self.inbox.hear(self.subscription);
        let Some(notifications) = message.notification_data.filter(|data| !data.is_empty()) else { return };
        self.count(message.sequence_number);
        for notification in notifications {
            if notification.inner_is::<DataChangeNotification>() {
                if let Some(changes) = notification.into_inner_as::<DataChangeNotification>() {
                    self.take(*changes);
                }
            } else if let Some(change) = notification.inner_as::<StatusChangeNotification>()
                && change.status.is_bad()
            {
                let cause = format!("the server has ended the subscription ({})", change.status);
                self.inbox.fail(PollError::Lost { cause });
            }
        }
    }

    /// Messages are numbered without holes; a hole is lost values, and only a new subscription
    /// brings the current ones (Part 4, 5.13.1.1).
    fn count(&mut self, number: u32) {
        if self.next.is_some_and(|next| next != number) {
            let cause = format!("message {number} came instead of {:?}, values are missing", self.next);
            self.inbox.fail(PollError::Lost { cause });
        }
        self.next = Some(number.checked_add(1).unwrap_or(1));
    }

    fn take(&self, changes: DataChangeNotification) {
        for change in changes.monitored_items.into_iter().flatten() {
            let tag = change.client_handle.wrapping_sub(1);
            if !self.sources.samples(tag, change.value, |sample| self.inbox.push(sample)) {
                let what = format!("value for item {}, which does not exist", change.client_handle);
                self.inbox.fail(PollError::Mismatch { what });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::{DataType, Scalar, Value};
    use opcua::types::{DataValue, MonitoredItemNotification};

    fn listener() -> Listener {
        let sources = Arc::new(Sources::plain(vec![DataType::single(Scalar::Dint)]));
        Listener { inbox: Arc::new(Inbox::new(1, 1)), sources, subscription: 0, next: None }
    }

    fn message(number: u32, data: Vec<ExtensionObject>) -> NotificationMessage {
        NotificationMessage { sequence_number: number, notification_data: Some(data), ..Default::default() }
    }

    fn value(handle: u32, value: i32) -> Vec<ExtensionObject> {
        let item = MonitoredItemNotification { client_handle: handle, value: DataValue::new_now(value) };
        let changes = DataChangeNotification { monitored_items: Some(vec![item]), ..Default::default() };
        vec![ExtensionObject::from_message(changes)]
    }

    /// What the poller gets: the values, then the fault.
    fn got(listener: &Listener) -> (Vec<Value>, Option<PollError>) {
        let mut samples = Vec::new();
        let mut fault = listener.inbox.drain(&mut samples).err();
        fault = fault.or_else(|| listener.inbox.drain(&mut Vec::new()).err());
        (samples.into_iter().map(|sample| sample.value).collect(), fault)
    }

    #[test]
    fn messages_follow_one_another_and_keep_alives_do_not_count() {
        let mut listener = listener();
        listener.receive(message(u32::MAX, value(1, 1)));
        listener.receive(message(1, Vec::new()));
        listener.receive(message(1, value(1, 2)));
        assert_eq!(got(&listener), (vec![Value::Int(1), Value::Int(2)], None));
    }

    #[test]
    fn a_missing_message_ends_the_session() {
        let mut listener = listener();
        listener.receive(message(1, value(1, 1)));
        listener.receive(message(3, value(1, 3)));
        assert!(matches!(got(&listener).1, Some(PollError::Lost { .. })));
    }

    #[test]
    fn values_for_items_that_do_not_exist_are_no_values() {
        for handle in [0, 2, u32::MAX] {
            let mut listener = listener();
            listener.receive(message(1, value(handle, 1)));
            assert!(
                matches!(got(&listener), (values, Some(PollError::Mismatch { .. })) if values.is_empty())
            );
        }
    }

    #[test]
    fn an_ended_subscription_ends_the_session() {
        let mut listener = listener();
        let change = StatusChangeNotification { status: StatusCode::BadTimeout, ..Default::default() };
        listener.receive(message(1, vec![ExtensionObject::from_message(change)]));
        assert!(matches!(got(&listener).1, Some(PollError::Lost { .. })));
    }
}
