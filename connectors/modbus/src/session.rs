//! One connection, strictly checked.
//!
//! Every wait has a limit and every answer must be flawless (see `frame`). [`Session::read`] takes
//! the session and gives it back only with such an answer: on any error, and when the call is
//! dropped, the connection is closed, and what is still on its way can never become another tag's
//! value. On RTU, where a new connection may still hear the late answer, [`Session::settle`]
//! listens until the line is silent.

use std::io;
use std::time::Duration;

use forebay_connector::PollError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_serial::{DataBits, FlowControl, SerialPort, SerialPortBuilderExt, SerialStream, StopBits};

use crate::endpoint::{Endpoint, Parity, Serial};
use crate::frame::{ANSWER_MAX, Framing, Heard, Read};

/// Bytes thrown away at once while the line settles.
const NOISE_BYTES: usize = 512;

/// A flawless answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Registers or bits, as many as asked for, as bytes in the order of the wire.
    Data,
    /// The device said no, with this exception code.
    Exception(u8),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection nobody has cause to doubt.
pub struct Session {
    stream: Box<dyn Stream>,
    framing: Framing,
    serial: Option<Serial>,
    transaction: u16,
    /// When the last byte came.
    heard: Instant,
    buffer: [u8; ANSWER_MAX],
}

impl Session {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// [`PollError::Connect`].
    pub async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<Box<Self>, PollError> {
        let refused = |cause: String| PollError::Connect { endpoint: endpoint.to_string(), cause };
        let (stream, serial): (Box<dyn Stream>, _) = match endpoint {
            Endpoint::Serial(serial) => (
                Box::new(open(serial).map_err(|error| refused(port_trouble(serial, &error)))?),
                Some(serial.clone()),
            ),
            Endpoint::Network { host, port, .. } => {
                let stream = timeout(limit, TcpStream::connect((host.as_str(), *port)))
                    .await
                    .map_err(|_| refused(format!("no answer within {} ms", limit.as_millis())))?
                    .map_err(|error| refused(error.to_string()))?;
                // Requests are small and the answer is waited for: Nagle's algorithm would only delay.
                stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
                (Box::new(stream), None)
            }
        };
        Ok(Box::new(Self {
            stream,
            framing: endpoint.framing(),
            serial,
            transaction: 0,
            heard: Instant::now(),
            buffer: [0; ANSWER_MAX],
        }))
    }

    /// Throws away what comes until nothing has come for `silence`, at most for `limit` longer.
    /// On a serial line never less than the silence between two frames.
    ///
    /// # Errors
    /// [`PollError::Mismatch`] when the line never gets silent, [`PollError::Lost`].
    pub async fn settle(
        mut self: Box<Self>,
        silence: Duration,
        limit: Duration,
    ) -> Result<Box<Self>, PollError> {
        if self.framing == Framing::Tcp {
            // What is left over there has an old transaction.
            return Ok(self);
        }
        let between = self.serial.as_ref().map_or(Duration::ZERO, Serial::silence);
        let silence = silence.max(between);
        let end = Instant::now() + silence + limit;
        let (mut noise, mut dropped) = ([0; NOISE_BYTES], 0);
        loop {
            // Looks at what has come already also when it has been silent for long enough.
            match timeout_at(self.heard + silence, self.stream.read(&mut noise)).await {
                Err(_) => return Ok(self),
                Ok(Ok(0)) => return Err(closed()),
                Ok(Err(error)) => return Err(lost(&error)),
                Ok(Ok(bytes)) => {
                    dropped += bytes;
                    self.heard = Instant::now();
                }
            }
            if self.heard > end {
                let waited = (silence + limit).as_millis();
                let what = format!("the line was not silent for {waited} ms, {dropped} bytes came unasked");
                return Err(PollError::Mismatch { what });
            }
        }
    }

    /// Sends one request and waits for its answer, at most `limit` and the time that the bytes take
    /// on a serial line; puts the answer's data into `data`.
    ///
    /// # Errors
    /// [`PollError::Timeout`], [`PollError::Mismatch`], [`PollError::Lost`]; the connection is
    /// closed then.
    pub async fn read(
        mut self: Box<Self>,
        read: Read,
        limit: Duration,
        data: &mut Vec<u8>,
    ) -> Result<(Box<Self>, Answer), PollError> {
        data.clear();
        let bytes = 8 + read.answer_len(self.framing);
        let limit = limit + self.serial.as_ref().map_or(Duration::ZERO, |serial| serial.time_of(bytes));
        match timeout(limit, self.exchange(read)).await {
            Err(_) => Err(PollError::Timeout { waited: limit }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Heard::Exception(code))) => Ok((self, Answer::Exception(code))),
            Ok(Ok(Heard::Part(_))) => Err(closed()),
            Ok(Ok(Heard::Data(range))) => {
                data.extend_from_slice(&self.buffer[range]);
                Ok((self, Answer::Data))
            }
        }
    }

    async fn exchange(&mut self, read: Read) -> Result<Heard, PollError> {
        self.transaction = self.transaction.wrapping_add(1);
        let request = read.request(self.framing, self.transaction);
        self.stream.write_all(request.bytes()).await.map_err(|error| lost(&error))?;
        let (mut have, mut wanted) = (0, read.answer_len(self.framing));
        loop {
            let more =
                self.stream.read(&mut self.buffer[have..wanted]).await.map_err(|error| lost(&error))?;
            if more == 0 {
                return Err(closed());
            }
            self.heard = Instant::now();
            have += more;
            match request.judge(&self.buffer[..have]) {
                // Never longer than the longest answer, and never satisfied yet.
                Ok(Heard::Part(total)) => wanted = total,
                Ok(heard) => return Ok(heard),
                Err(what) => return Err(PollError::Mismatch { what }),
            }
        }
    }
}

/// Opens the port for us alone; what came in before is thrown away by [`Session::settle`].
fn open(serial: &Serial) -> Result<SerialStream, tokio_serial::Error> {
    let stream = tokio_serial::new(&serial.path, serial.baud)
        .data_bits(DataBits::Eight)
        .flow_control(FlowControl::None)
        .parity(match serial.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if serial.stop == 2 { StopBits::Two } else { StopBits::One })
        .open_native_async()?;
    stream.clear(tokio_serial::ClearBuffer::All)?;
    Ok(stream)
}

/// Why the port cannot be opened, with the fix.
fn port_trouble(serial: &Serial, error: &tokio_serial::Error) -> String {
    let fix = match error.kind() {
        tokio_serial::ErrorKind::NoDevice | tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => {
            "is the adapter plugged in? `ls /dev/serial/by-id` shows those that are"
        }
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            "let the service use the port, see Serial lines in docs/profiles.md"
        }
        tokio_serial::ErrorKind::Io(io::ErrorKind::ResourceBusy) => "another program has it open",
        _ => "it may have been unplugged, or be no serial port, or not know these settings",
    };
    format!("{}: {error} ({fix})", serial.path)
}

fn closed() -> PollError {
    PollError::Lost { cause: "the device closed the connection".into() }
}

fn lost(error: &io::Error) -> PollError {
    PollError::Lost { cause: error.to_string() }
}
