//! A replay in words: what it is, how far it is, and the command that asks for it again.

use serde_json::Value as Json;

use super::{Job, Order};
use crate::amount::{counted, exact_time, number};

/// `telemetry from … to …, machine press-3`.
pub fn meaning(order: &Order) -> String {
    let Order { lane, from_us, to_us, devices, .. } = order;
    let devices = match devices.as_slice() {
        [] => String::new(),
        [one] => format!(", machine {one}"),
        many => format!(", machines {}", many.join(", ")),
    };
    format!("{lane} from {} to {}{devices}", exact_time(*from_us), exact_time(*to_us))
}

/// The command that asks for the same once more, whenever it is given.
pub fn command(order: &Order) -> String {
    let Order { id, lane, from_us, to_us, devices, .. } = order;
    let (from, to) = (exact_time(*from_us), exact_time(*to_us));
    let mut command = format!("forebay replay --id {id} --from {from} --until {to}");
    if lane != "telemetry" {
        command += &format!(" --lane {lane}");
    }
    for device in devices {
        let is_plain = device.chars().all(|it| it.is_alphanumeric() || "-_./".contains(it));
        command += &if is_plain { format!(" --device {device}") } else { format!(" --device '{device}'") };
    }
    command
}

/// One line about a replay as the box tells it.
pub fn line(job: &Json) -> String {
    match serde_json::from_value::<Job>(job.clone()) {
        Ok(job) => format!("{}: {}: {}", job.order.id, meaning(&job.order), progress(&job)),
        // A box of another version.
        Err(_) => job.to_string(),
    }
}

/// How far it is.
pub fn progress(job: &Job) -> String {
    use super::State;
    let sent = counted(job.records, "record", "records");
    let sent = if job.interrupted {
        format!("{sent} sent since the box started anew")
    } else {
        format!("{sent} sent")
    };
    let state = match job.state {
        State::Done if nothing_fits(job) => {
            "done, 0 records sent: the journal holds nothing of that time and these machines".to_owned()
        }
        State::Done => format!("done, {sent}"),
        State::Cancelled => format!("cancelled, {sent}; what was sent stays in Kafka"),
        State::Sending => {
            let (all, read) =
                (job.to_offset - job.from_offset, job.next_offset.saturating_sub(job.from_offset));
            let part = (read * 100).checked_div(all).unwrap_or(100);
            format!("{part} % read, {sent}; {}", job.text)
        }
        State::Waiting if job.text.is_empty() => "waits for its turn".to_owned(),
        State::Waiting => format!("waits: {}", job.text),
    };
    format!("{state}{}", rest(job))
}

/// Nothing was sent, nor is to come.
pub fn nothing_fits(job: &Job) -> bool {
    !job.interrupted && (job.records, job.unsent, job.missing) == (0, 0, 0)
}

/// What was not sent, and why; empty when there is nothing of the kind.
pub fn rest(job: &Job) -> String {
    let mut text = String::new();
    if job.unsent > 0 {
        let (are, come) =
            if job.unsent == 1 { ("is", "comes as a normal one") } else { ("are", "come as normal ones") };
        let records = counted(job.unsent, "record", "records");
        text += &format!("; {records} {are} not sent yet and {come}");
    }
    if job.missing > 0 {
        text += &format!("; {} no longer there, or could not be read", are(job.missing));
    }
    text
}

fn are(records: u64) -> String {
    if records == 1 { "1 record was".to_owned() } else { format!("{} records were", number(records)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::State;

    fn job(state: State) -> Job {
        let order = Order {
            id: "fire".into(),
            lane: "events".into(),
            from_us: 1_770_000_000_000_000,
            to_us: 1_770_000_060_500_000,
            devices: vec!["press-3".into(), "big oven".into()],
            ..Order::default()
        };
        Job {
            order,
            epoch: String::new(),
            from_offset: 1000,
            to_offset: 3000,
            created_us: 0,
            state,
            next_offset: 1500,
            sent: None,
            records: 1234,
            interrupted: false,
            unsent: 0,
            missing: 0,
            text: String::new(),
        }
    }

    #[test]
    fn a_replay_says_what_it_is_and_how_to_ask_for_it_again() {
        let order = job(State::Done).order;
        assert_eq!(
            meaning(&order),
            "events from 2026-02-02T02:40:00Z to 2026-02-02T02:41:00.5Z, machines press-3, big oven"
        );
        assert_eq!(
            command(&order),
            "forebay replay --id fire --from 2026-02-02T02:40:00Z --until 2026-02-02T02:41:00.5Z --lane events \
             --device press-3 --device 'big oven'"
        );
    }

    #[test]
    fn how_far_it_is_reads_well_in_every_state() {
        assert_eq!(progress(&job(State::Done)), "done, 1,234 records sent");
        let sending = Job { text: "data goes to Kafka".into(), ..job(State::Sending) };
        assert_eq!(progress(&sending), "25 % read, 1,234 records sent; data goes to Kafka");
        assert_eq!(progress(&job(State::Waiting)), "waits for its turn");
        let left = Job { unsent: 4321, missing: 1, ..job(State::Done) };
        assert_eq!(
            progress(&left),
            "done, 1,234 records sent; 4,321 records are not sent yet and come as normal ones; 1 record was no longer \
             there, or could not be read"
        );
        let anew = Job { interrupted: true, records: 0, ..job(State::Done) };
        assert_eq!(progress(&anew), "done, 0 records sent since the box started anew");
        let empty = Job { records: 0, ..job(State::Done) };
        assert!(progress(&empty).contains("holds nothing of that time"));
        assert!(line(&serde_json::json!(empty)).starts_with("fire: events from 2026-"));
    }
}
