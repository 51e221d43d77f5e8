//! What the server remembers of its tags (Part 11, ReadRaw), to fill the time the box was away.
//!
//! The tags are streams of values, each read a page at a time and merged by time, so that what is
//! given back is complete up to its last sample and no more than a page of each tag is in memory.
//! A page is followed by its continuation point or, where the server gives none although the page
//! was full, by the time behind its last value. A server that has run out of continuation points
//! gets the ones we hold back, and is read by time from then on.

use std::collections::VecDeque;

use forebay_connector::{DataType, PollError, RawSample};
use opcua::client::HistoryReadAction;
use opcua::types::{
    AttributeId, ByteString, DataValue, DateTime, HistoryData, HistoryReadResult, HistoryReadValueId, NodeId,
    ReadRawModifiedDetails, ReadValueId, StatusCode, TimestampsToReturn, Variant,
};

use crate::decode;
use crate::session::Link;

/// Values of one tag in one page.
const PAGE_MIN: usize = 16;
const PAGE_MAX: usize = 1000;
/// Tags in one request; each may cost the server a continuation point.
const NODES_PER_REQUEST: usize = 50;
/// Pages in a row that may bring nothing new, before the server is taken to go in circles.
const EMPTY_MAX: u32 = 3;
/// Bit of AccessLevel that permits reading history (Part 3, 8.57).
const HISTORY_READ: u8 = 0x04;
/// 100 ns ticks of OPC UA times from 1601 to 1970, and in a microsecond.
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;
const TICKS_PER_US: i64 = 10;

/// A tag of which the server keeps history.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) tag: u32,
    pub(crate) node: NodeId,
    pub(crate) data_type: DataType,
}

/// Asks the server of which of these tags it lets us read history.
pub(crate) async fn recorded(
    link: &Link,
    tags: impl Iterator<Item = Recorded>,
    read_chunk: usize,
) -> Result<Vec<Recorded>, PollError> {
    let tags: Vec<Recorded> = tags.collect();
    let mut kept = Vec::new();
    for chunk in tags.chunks(read_chunk.div_ceil(2)) {
        let level = |attribute: AttributeId| {
            move |tag: &Recorded| ReadValueId {
                node_id: tag.node.clone(),
                attribute_id: attribute as u32,
                ..Default::default()
            }
        };
        let own = chunk.iter().map(level(AttributeId::UserAccessLevel));
        let all = chunk.iter().map(level(AttributeId::AccessLevel));
        let answers = link.read(&own.chain(all).collect::<Vec<_>>()).await?;
        let (own, all) = answers.split_at(chunk.len());
        let bits = |answer: &DataValue| match answer.value {
            Some(Variant::Byte(bits)) => Some(bits),
            _ => None,
        };
        // Both have to permit it; a server may leave the user's out.
        let permits = |answers: (&DataValue, &DataValue)| {
            let all = bits(answers.1).unwrap_or(0);
            all & bits(answers.0).unwrap_or(all) & HISTORY_READ != 0
        };
        let permitted = own.iter().zip(all).map(permits);
        kept.extend(
            chunk.iter().zip(permitted).filter(|(_, permitted)| *permitted).map(|(tag, _)| tag.clone()),
        );
    }
    Ok(kept)
}

/// Where a tag is read on.
#[derive(Debug, Clone)]
enum Next {
    /// From this tick on.
    From(i64),
    /// Behind the page before, as the server has marked it.
    Continue(ByteString),
    End,
}

struct Stream {
    recorded: Recorded,
    next: Next,
    page: VecDeque<RawSample>,
    /// Tick of the last value, so that none is taken twice.
    last: i64,
    /// Pages in a row that brought nothing.
    empty: u32,
}

impl Stream {
    fn new(recorded: Recorded, from: i64) -> Self {
        let last = from.saturating_sub(1);
        Self { recorded, next: Next::From(from), page: VecDeque::new(), last, empty: 0 }
    }

    fn needs_page(&self) -> bool {
        self.page.is_empty() && !matches!(self.next, Next::End)
    }

    /// Takes over a page.
    fn fill(&mut self, result: HistoryReadResult, page: usize, to: i64) {
        let status = result.status_code;
        if status == StatusCode::BadNoContinuationPoints {
            self.next = Next::From(self.last.saturating_add(1));
            return;
        }
        let data = result.history_data.into_inner_as::<HistoryData>().filter(|_| !status.is_bad());
        let values = data.and_then(|data| data.data_values).unwrap_or_default();
        let (full, before) = (values.len() >= page, self.page.len());
        let mut over = false;
        for value in values {
            let Some(stamp) = value.source_timestamp.or(value.server_timestamp) else { continue };
            let ticks = stamp.checked_ticks();
            over |= ticks > to;
            // Values of one time in order, nothing twice, nothing from outside.
            let again = ticks < self.last || (ticks == self.last && before == 0 && self.page.is_empty());
            if again || ticks > to {
                continue;
            }
            self.last = ticks;
            self.page.push_back(decode::sample(self.recorded.tag, self.recorded.data_type, value));
        }
        self.empty = if self.page.len() > before { 0 } else { self.empty + 1 };
        self.next = if status.is_bad() || over || self.empty > EMPTY_MAX {
            Next::End
        } else if !result.continuation_point.is_null_or_empty() {
            Next::Continue(result.continuation_point)
        } else if full {
            Next::From(self.last.saturating_add(1))
        } else {
            Next::End
        };
    }
}

/// Reads from `from_us` to `to_us`, both included, at most `max` samples, in order of time.
///
/// `Ok(false)` when the server does not read history after all.
pub(crate) async fn read(
    link: &Link,
    recorded: &[Recorded],
    (from_us, to_us): (i64, i64),
    max: usize,
    samples: &mut Vec<RawSample>,
) -> Result<bool, PollError> {
    let (from, to) = (ticks(from_us), ticks(to_us).saturating_add(TICKS_PER_US - 1));
    let page = (max / recorded.len().max(1)).clamp(PAGE_MIN, PAGE_MAX);
    let mut streams: Vec<Stream> = recorded.iter().map(|tag| Stream::new(tag.clone(), from)).collect();
    let mut supported = true;
    let end = samples.len().saturating_add(max);
    loop {
        supported = supported && fill(link, &mut streams, page, to).await?;
        if !supported || merge(&mut streams, end, samples) {
            break;
        }
    }
    release(link, &mut streams).await?;
    Ok(supported)
}

/// Gives out samples in order of time until one stream has to be read on (`false`), or until
/// nothing is left or `samples` has `end` entries (`true`). Samples of one time stay together, so
/// that whoever goes on behind the last time misses none.
fn merge(streams: &mut [Stream], end: usize, samples: &mut Vec<RawSample>) -> bool {
    while !streams.iter().any(Stream::needs_page) {
        let time = |stream: &Stream| stream.page.front().and_then(|sample| sample.source_us);
        let waiting = streams.iter_mut().filter(|stream| !stream.page.is_empty());
        let Some(next) = waiting.min_by_key(|stream| time(stream)) else { return true };
        if samples.len() >= end && samples.last().is_none_or(|last| last.source_us != time(next)) {
            return true;
        }
        samples.extend(next.page.pop_front());
    }
    false
}

/// Reads the next page of all streams that have come to the end of theirs.
async fn fill(link: &Link, streams: &mut [Stream], page: usize, to: i64) -> Result<bool, PollError> {
    let mut at_once = NODES_PER_REQUEST;
    loop {
        let (from, mut waiting) = match group(streams) {
            Some(found) => found,
            None => return Ok(true),
        };
        waiting.truncate(at_once);
        let nodes: Vec<HistoryReadValueId> = waiting.iter().map(|index| value_id(&streams[*index])).collect();
        let results = match link.ask(request(link, from, to, page, false, &nodes)).await? {
            Ok(results) if results.len() == nodes.len() => results,
            Ok(results) => {
                let what = format!("history of {} tags asked for, of {} came", nodes.len(), results.len());
                return Err(PollError::Mismatch { what });
            }
            Err(_) => return Ok(false),
        };
        let without = |result: &HistoryReadResult| result.status_code == StatusCode::BadNoContinuationPoints;
        let exhausted = results.iter().any(without);
        if results.iter().all(without) {
            // It has too few for so many tags: what one tag brings is progress, or its end.
            at_once = 1;
        }
        let refused = results.iter().all(|result| {
            [StatusCode::BadHistoryOperationUnsupported, StatusCode::BadServiceUnsupported]
                .contains(&result.status_code)
        });
        for (index, result) in waiting.into_iter().zip(results) {
            let alone = nodes.len() == 1 && without(&result);
            streams[index].fill(result, page, to);
            if alone && !streams.iter().any(|stream| matches!(stream.next, Next::Continue(_))) {
                // It has none even for one tag, and nothing of ours is left to give back.
                streams[index].next = Next::End;
            }
        }
        if refused {
            return Ok(false);
        }
        if exhausted {
            release(link, streams).await?;
        }
    }
}

/// The streams that are read next: those that can be asked for in one request.
fn group(streams: &[Stream]) -> Option<(i64, Vec<usize>)> {
    let first = streams.iter().find(|stream| stream.needs_page())?;
    let same = |stream: &&Stream| match (&stream.next, &first.next) {
        (Next::From(a), Next::From(b)) => a == b,
        (Next::Continue(_), Next::Continue(_)) => true,
        _ => false,
    };
    let from = match first.next {
        Next::From(from) => from,
        // With a continuation point the server knows where it is.
        _ => first.last,
    };
    let indices = streams
        .iter()
        .enumerate()
        .filter(|(_, stream)| stream.needs_page() && same(stream))
        .map(|(index, _)| index)
        .collect();
    Some((from, indices))
}

fn value_id(stream: &Stream) -> HistoryReadValueId {
    let continuation_point = match &stream.next {
        Next::Continue(point) => point.clone(),
        _ => ByteString::null(),
    };
    HistoryReadValueId { node_id: stream.recorded.node.clone(), continuation_point, ..Default::default() }
}

async fn request(
    link: &Link,
    from: i64,
    to: i64,
    page: usize,
    release: bool,
    nodes: &[HistoryReadValueId],
) -> Result<Vec<HistoryReadResult>, opcua::types::Error> {
    let details = ReadRawModifiedDetails {
        is_read_modified: false,
        start_time: DateTime::from(from),
        // An interval ends before its end (Part 11, 4.4).
        end_time: DateTime::from(to.saturating_add(1)),
        num_values_per_node: u32::try_from(page).unwrap_or(u32::MAX),
        return_bounds: false,
    };
    let action = HistoryReadAction::ReadRawModifiedDetails(details);
    link.session.history_read(action, TimestampsToReturn::Both, release, nodes).await
}

/// Gives back all continuation points, of which a server has few; the streams go on by time.
async fn release(link: &Link, streams: &mut [Stream]) -> Result<(), PollError> {
    let held: Vec<usize> =
        (0..streams.len()).filter(|index| matches!(streams[*index].next, Next::Continue(_))).collect();
    for chunk in held.chunks(NODES_PER_REQUEST) {
        let nodes: Vec<_> = chunk.iter().map(|index| value_id(&streams[*index])).collect();
        // One that is gone already is as good as released.
        link.ask(request(link, 0, 0, 0, true, &nodes)).await?.ok();
        for index in chunk {
            streams[*index].next = Next::From(streams[*index].last.saturating_add(1));
        }
    }
    Ok(())
}

fn ticks(us: i64) -> i64 {
    us.saturating_mul(TICKS_PER_US).saturating_add(TICKS_TO_1970).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_connector::{Scalar, Value};
    use opcua::types::ExtensionObject;

    const TO: i64 = TICKS_TO_1970 + 1000;

    fn stream(tag: u32) -> Stream {
        let recorded = Recorded { tag, node: NodeId::null(), data_type: DataType::single(Scalar::Dint) };
        Stream::new(recorded, TICKS_TO_1970)
    }

    fn result(times: &[i64], point: &[u8]) -> HistoryReadResult {
        let value = |time: &i64| DataValue {
            source_timestamp: Some(DateTime::from(TICKS_TO_1970 + time)),
            ..DataValue::new_now(i32::try_from(*time).expect("small"))
        };
        let data = HistoryData { data_values: Some(times.iter().map(value).collect()) };
        HistoryReadResult {
            status_code: StatusCode::Good,
            continuation_point: if point.is_empty() { ByteString::null() } else { point.to_vec().into() },
            history_data: ExtensionObject::from_message(data),
        }
    }

    fn numbers(stream: &Stream) -> Vec<Value> {
        stream.page.iter().map(|sample| sample.value.clone()).collect()
    }

    #[test]
    fn a_page_is_followed_by_its_point_by_time_or_by_nothing() {
        let mut marked = stream(0);
        marked.fill(result(&[10, 20], b"here"), 2, TO);
        assert!(matches!(&marked.next, Next::Continue(point) if point.as_ref() == b"here"));
        let mut full = stream(0);
        full.fill(result(&[10, 20], b""), 2, TO);
        assert!(matches!(full.next, Next::From(ticks) if ticks == TICKS_TO_1970 + 21));
        let mut short = stream(0);
        short.fill(result(&[10], b""), 2, TO);
        assert!(matches!(short.next, Next::End));
        let mut bad = stream(0);
        bad.fill(
            HistoryReadResult { status_code: StatusCode::BadNodeIdUnknown, ..result(&[1], b"x") },
            2,
            TO,
        );
        assert!(matches!(bad.next, Next::End) && bad.page.is_empty());
    }

    #[test]
    fn nothing_is_taken_twice_and_nothing_from_outside() {
        let mut tag = stream(0);
        tag.fill(result(&[-5, 10, 10, 20], b"more"), 4, TO);
        assert_eq!(numbers(&tag), [Value::Int(10), Value::Int(10), Value::Int(20)]);
        tag.page.clear();
        // The server goes back, and beyond.
        tag.fill(result(&[20, 15, 30, 2000], b"more"), 4, TO);
        assert_eq!(numbers(&tag), [Value::Int(30)]);
        assert!(matches!(tag.next, Next::End));
    }

    #[test]
    fn a_server_that_goes_in_circles_is_left() {
        let mut tag = stream(0);
        for _ in 0..=EMPTY_MAX {
            assert!(!matches!(tag.next, Next::End));
            tag.fill(result(&[], b"more"), 4, TO);
        }
        assert!(matches!(tag.next, Next::End));
    }

    #[test]
    fn streams_are_merged_by_time_up_to_where_all_are_known() {
        let mut streams = [stream(0), stream(1)];
        streams[0].fill(result(&[100, 300, 500], b""), 9, TO);
        streams[1].fill(result(&[200, 400], b"more"), 2, TO);
        let mut samples = Vec::new();
        assert!(!merge(&mut streams, 10, &mut samples), "the second is to be read on");
        let told: Vec<_> = samples.iter().map(|sample| sample.value.clone()).collect();
        assert_eq!(told, [100, 200, 300, 400].map(Value::Int));
    }

    #[test]
    fn samples_of_one_time_stay_together() {
        let mut streams = [stream(0), stream(1), stream(2)];
        for stream in &mut streams {
            stream.fill(result(&[10, 20, 30], b""), 9, TO);
        }
        let mut samples = Vec::new();
        assert!(merge(&mut streams, 4, &mut samples));
        assert_eq!(samples.len(), 6, "three at 10 and three at 20");
    }
}
