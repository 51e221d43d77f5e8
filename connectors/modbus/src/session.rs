//! One TCP connection, strictly checked.
//!
//! tokio-modbus 0.17 compares transaction, unit and function code of an answer with the request's
//! and refuses a wrong protocol number. It has no time limit, takes any number of registers, and
//! after an answer that came late every following answer is one behind. Here every wait has a limit
//! and every answer must have exactly the length asked for. [`Session::read`] takes the session and
//! gives it back only with a flawless answer: on any error, and when the call is dropped, the
//! connection is closed, and what is still on its way can never become another tag's value.

use std::io;
use std::time::Duration;

use forebay_connector::PollError;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Request, Response};

use crate::address::Table;
use crate::settings::Endpoint;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// Unit identifier.
    pub unit: u8,
    /// Table.
    pub table: Table,
    /// First register or coil on the wire.
    pub start: u16,
    /// How many.
    pub count: u16,
}

/// A flawless answer.
#[derive(Debug)]
pub enum Answer {
    /// As many registers as asked for.
    Registers(Vec<u16>),
    /// At least as many bits as asked for; what follows fills up the last byte.
    Bits(Vec<bool>),
    /// The device said no.
    Exception(ExceptionCode),
}

/// A connection nobody has cause to doubt.
pub struct Session {
    context: Context,
}

impl Session {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// [`PollError::Connect`].
    pub async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<Self, PollError> {
        let refused = |cause: String| PollError::Connect { endpoint: endpoint.to_string(), cause };
        let stream = timeout(limit, TcpStream::connect((endpoint.host.as_str(), endpoint.port)))
            .await
            .map_err(|_| refused(format!("no answer within {} ms", limit.as_millis())))?
            .map_err(|error| refused(error.to_string()))?;
        // Requests are small and the answer is waited for: Nagle's algorithm would only delay them.
        stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
        Ok(Self { context: tcp::attach(stream) })
    }

    /// Sends one request and waits for its answer, at most `limit`.
    ///
    /// # Errors
    /// [`PollError::Timeout`], [`PollError::Mismatch`], [`PollError::Lost`]; the connection is
    /// closed then.
    pub async fn read(mut self, read: Read, limit: Duration) -> Result<(Self, Answer), PollError> {
        let Read { unit, table, start, count } = read;
        self.context.set_slave(Slave(unit));
        let request = match table {
            Table::Coils => Request::ReadCoils(start, count),
            Table::DiscreteInputs => Request::ReadDiscreteInputs(start, count),
            Table::InputRegisters => Request::ReadInputRegisters(start, count),
            Table::HoldingRegisters => Request::ReadHoldingRegisters(start, count),
        };
        // `call` and not the library's `read_…`: those panic on a short answer in debug builds.
        let answer = match timeout(limit, self.context.call(request)).await {
            Err(_) => return Err(PollError::Timeout { waited: limit }),
            Ok(Err(error)) => return Err(poisoned(error)),
            Ok(Ok(Err(exception))) => Answer::Exception(exception),
            Ok(Ok(Ok(response))) => of_length(response, count)?,
        };
        Ok((self, answer))
    }
}

/// The answer, if it is as long as the request asked for.
fn of_length(response: Response, asked: u16) -> Result<Answer, PollError> {
    let asked = usize::from(asked);
    match response {
        Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => {
            if words.len() == asked {
                return Ok(Answer::Registers(words));
            }
            mismatch(format!("{asked} registers asked for, {} answered", words.len()))
        }
        Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
            if bits.len() == asked.next_multiple_of(8) {
                return Ok(Answer::Bits(bits));
            }
            mismatch(format!("{asked} bits asked for, {} bytes answered", bits.len() / 8))
        }
        other => mismatch(format!("a read was answered with function {}", other.function_code())),
    }
}

fn mismatch(what: String) -> Result<Answer, PollError> {
    Err(PollError::Mismatch { what })
}

fn poisoned(error: Error) -> PollError {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { message, .. }) => {
            PollError::Mismatch { what: format!("transaction or unit differs: {message}") }
        }
        Error::Protocol(ProtocolError::FunctionCodeMismatch { request, result }) => {
            let answered = match result {
                Ok(response) => response.function_code(),
                Err(exception) => exception.function,
            };
            PollError::Mismatch { what: format!("function {request} asked for, {answered} answered") }
        }
        // The decoder's own complaints carry no error number of the system.
        Error::Transport(error) if error.raw_os_error().is_none() && is_malformed(error.kind()) => {
            PollError::Mismatch { what: format!("malformed: {error}") }
        }
        Error::Transport(error) => PollError::Lost { cause: lost(&error) },
    }
}

fn is_malformed(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof)
}

/// Words for the end of a connection.
///
/// When the peer closes, the library reports whatever error number the thread had last; only those
/// that speak of a connection are believed.
fn lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => error.to_string(),
        _ => "the device closed the connection".to_owned(),
    }
}
