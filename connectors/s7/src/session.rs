//! A connection to one CPU, from the TCP handshake to the answer of a read request.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use forebay_connector::PollError;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::frame::{self, Cotp, FrameFault, Item, Message};
use crate::paced::Paced;
use crate::plan::{Limits, Plan};
use crate::refusal;
use crate::settings::{Settings, Target};
use crate::szl::{self, Assembly, List, ListId, Next};
use crate::wire::{Wire, WireFault};

/// Longest wait for all parts of a system status list. Devices that do not know the question stay
/// silent, and the poller has to be told well before it gives the connection up.
const LIST_MAX: Duration = Duration::from_secs(5);

/// A connection that is set up. After any error it must not be used again: what is still under
/// way could be taken for the answer to something else.
pub(crate) struct Session {
    wire: Wire,
    /// Request and frame being written; kept so that nothing is allocated per request.
    out: Vec<u8>,
    reference: u16,
    timeout: Duration,
    patience: Patience,
    limits: Limits,
    pace: Paced,
}

impl Session {
    /// Connects and agrees on the PDU size.
    pub(crate) async fn open(settings: &Settings, target: Target) -> Result<Self, PollError> {
        let connect = |cause: String| PollError::Connect { endpoint: settings.endpoint(), cause };
        let address = (settings.host.as_str(), settings.port);
        let stream = timeout(settings.timeout, TcpStream::connect(address))
            .await
            .map_err(|_| connect(format!("no answer within {} ms", settings.timeout.as_millis())))?
            .map_err(|error| connect(error.to_string()))?;
        let wire = Wire::new(stream).map_err(|error| connect(error.to_string()))?;
        let mut session = Self {
            wire,
            out: Vec::with_capacity(256),
            reference: 0,
            timeout: settings.timeout,
            patience: Patience(Box::pin(sleep(settings.timeout))),
            limits: Limits { request_bytes: 128, reply_bytes: 128 },
            pace: settings.pace.clone(),
        };
        let unit_bytes = session.transport(settings, target).await?;
        let pdu_bytes = session.setup(settings.pdu_bytes).await.map_err(|error| match error {
            // Some notice only now that they have no connection left.
            PollError::Lost { .. } => refusal::no_connection(settings, target, None),
            other => other,
        })?;
        // A request never needs more than one unit of the transport: three bytes are its head.
        session.limits = Limits { request_bytes: pdu_bytes.min(unit_bytes - 3), reply_bytes: pdu_bytes };
        Ok(session)
    }

    /// What one request and one answer may hold.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sets up the ISO transport connection; returns the largest unit the CPU takes.
    async fn transport(&mut self, settings: &Settings, target: Target) -> Result<usize, PollError> {
        self.pace.turn().await;
        frame::write_connect(&mut self.out, settings.local_tsap, target.remote_tsap());
        let confirm = async {
            self.wire.send(&self.out).await?;
            Ok(match self.wire.unit().await? {
                Cotp::Confirm { unit_bytes } => Ok(unit_bytes),
                Cotp::Disconnect { reason } => Err(Some(reason)),
                _ => frame::bad("the connection request is not answered by a confirm")?,
            })
        };
        match self.patience.within(self.timeout, confirm).await {
            Ok(Ok(unit_bytes)) => Ok(unit_bytes),
            Ok(Err(reason)) => Err(refusal::no_connection(settings, target, reason)),
            // CPUs without a free connection just close; so do those asked for a wrong slot.
            Err(PollError::Lost { .. }) => Err(refusal::no_connection(settings, target, None)),
            Err(error) => Err(error),
        }
    }

    /// Agrees on the PDU size, in bytes.
    async fn setup(&mut self, wanted_bytes: u16) -> Result<usize, PollError> {
        let reference = self.next_reference();
        frame::write_setup(&mut self.out, reference, wanted_bytes);
        let pdu_bytes = self.exchange(reference, frame::parse_setup).await?;
        Ok(pdu_bytes.min(usize::from(wanted_bytes)))
    }

    /// Sends one request of a plan and puts the answer in its places: bytes into `image`, the
    /// return code of each range into `codes`.
    pub(crate) async fn read(
        &mut self,
        plan: &Plan,
        request: &[usize],
        image: &mut [u8],
        codes: &mut [u8],
    ) -> Result<(), PollError> {
        let reference = self.next_reference();
        let ranges = request.iter().map(|range| &plan.ranges[*range]);
        frame::write_read(&mut self.out, reference, ranges);
        self.exchange(reference, |message| {
            let mut items = frame::parse_items(message, request.len())?;
            for index in request {
                let range = &plan.ranges[*index];
                let len_bytes = usize::from(range.len_bytes);
                codes[*index] = match items.next_item()? {
                    Item::Data(data) if data.len() == len_bytes => {
                        image[range.at..range.at + len_bytes].copy_from_slice(data);
                        frame::ITEM_GOOD
                    }
                    Item::Data(data) => {
                        return frame::bad(format!("{} bytes answered, {len_bytes} asked", data.len()));
                    }
                    Item::Refused(code) => code,
                };
            }
            items.end()
        })
        .await
    }

    /// Asks the CPU for a system status list; `None` when it does not give it.
    pub(crate) async fn list(&mut self, id: ListId) -> Result<Option<List>, PollError> {
        let mut assembly = Assembly::new(id);
        let mut reference = self.next_reference();
        // For all parts together: each by itself might come just in time.
        let mut left = (self.timeout * 2).min(LIST_MAX);
        szl::write_request(&mut self.out, reference, id);
        loop {
            // Not part of the wait: the CPU is not silent while it is not asked.
            self.pace.turn().await;
            let (begun, waited) = (Instant::now(), left.min(self.timeout));
            match self.answer(reference, waited, |message| assembly.take(message)).await? {
                Next::Part(sequence) => {
                    left = left.saturating_sub(begun.elapsed());
                    reference = self.next_reference();
                    szl::write_next(&mut self.out, reference, sequence);
                }
                Next::Done => return Ok(assembly.into_list()),
            }
        }
    }

    /// Waits for a turn, and then for the answer to what `out` holds.
    async fn exchange<T>(
        &mut self,
        reference: u16,
        parse: impl FnOnce(&Message<'_>) -> Result<T, FrameFault>,
    ) -> Result<T, PollError> {
        self.pace.turn().await;
        self.answer(reference, self.timeout, parse).await
    }

    /// Sends what `out` holds and gives the answer to `parse`, once its reference was checked and
    /// it is no error.
    async fn answer<T>(
        &mut self,
        reference: u16,
        waited: Duration,
        parse: impl FnOnce(&Message<'_>) -> Result<T, FrameFault>,
    ) -> Result<T, PollError> {
        let exchange = async {
            self.wire.send(&self.out).await?;
            let message = frame::parse_message(self.wire.message().await?)?;
            if message.reference != reference {
                // Most likely the late answer to an earlier request: its values are not ours.
                frame::bad(format!("PDU reference {}, {reference} expected", message.reference))?;
            }
            if message.kind == 1 {
                frame::bad("a request instead of an answer")?;
            }
            if message.error != 0 {
                return Ok(Err(message.error));
            }
            Ok(Ok(parse(&message)?))
        };
        self.patience.within(waited, exchange).await?.map_err(refusal::of_request)
    }

    /// References count up, so that a late answer never carries the one that is expected.
    fn next_reference(&mut self) -> u16 {
        self.reference = self.reference.wrapping_add(1);
        self.reference
    }

    /// Ends the connection in order, which frees the CPU's resource at once.
    pub(crate) async fn close(&mut self) {
        // Unanswered, the goodbye is given up: the socket is closed either way.
        let _late = timeout(self.timeout, self.wire.close()).await;
    }
}

/// The timer of a connection. Setting one forward that runs is much cheaper than a new one for each
/// request, which would be a third of what a request costs.
struct Patience(Pin<Box<Sleep>>);

impl Patience {
    /// Waits for `exchange` and says what became of it in the poller's words.
    async fn within<T>(
        &mut self,
        waited: Duration,
        exchange: impl Future<Output = Result<T, WireFault>>,
    ) -> Result<T, PollError> {
        self.0.as_mut().reset(Instant::now() + waited);
        let done = tokio::select! {
            biased;
            done = exchange => done,
            () = &mut self.0 => return Err(PollError::Timeout { waited }),
        };
        done.map_err(|fault| match fault {
            WireFault::Lost(error) => PollError::Lost { cause: lost(&error) },
            WireFault::Bad(FrameFault(what)) => PollError::Mismatch { what },
            WireFault::Disconnected(_) => PollError::Lost { cause: fault.to_string() },
        })
    }
}

fn lost(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the device closed the connection".into(),
        _ => error.to_string(),
    }
}
