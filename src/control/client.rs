//! Asking a running box through its socket. Blocking: the commands have nothing else to do.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;

use super::socket;

/// Longest wait for an answer; removing many files takes a while.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No box runs with this folder.
    #[error("no forebay runs here ({} does not answer): start it, for example with `systemctl start forebay`", .0.display())]
    NotRunning(PathBuf),
    /// The socket is for others.
    #[error("{} may not be used by this user: run this as root or as the user of the service", .0.display())]
    NotAllowed(PathBuf),
    /// The box understood and said no.
    #[error("{0}")]
    Refused(String),
    /// The connection broke, or what came is no answer.
    #[error("no proper answer from {}: {reason}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// The socket of one box.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Of the box that keeps its state in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join(socket::FILE) }
    }

    /// What `GET path` answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&self, path: &str) -> Result<Json, ClientError> {
        self.ask("GET", path, &[])
    }

    /// What `POST path` with this body answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post(&self, path: &str, body: &Json) -> Result<Json, ClientError> {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    /// What `PUT path` with these bytes answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn put(&self, path: &str, body: &[u8]) -> Result<Json, ClientError> {
        self.ask("PUT", path, body)
    }

    /// What `DELETE path` answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delete(&self, path: &str) -> Result<Json, ClientError> {
        self.ask("DELETE", path, &[])
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<Json, ClientError> {
        let mut stream = UnixStream::connect(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning(self.path.clone())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(self.path.clone()),
            _ => self.broken(&error),
        })?;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = stream
            .set_read_timeout(Some(ANSWER_MAX))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_MAX)))
            .and_then(|()| exchange(&mut stream, &[head.as_bytes(), body].concat()))
            .map_err(|error| self.broken(&error))?;
        self.read(&answer)
    }

    fn read(&self, answer: &[u8]) -> Result<Json, ClientError> {
        let text = std::str::from_utf8(answer).map_err(|error| self.broken(&error))?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| self.broken(&"it is cut short"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        let read: Result<Json, _> = serde_json::from_str(body);
        match (status, read) {
            (Some(200..=299), Ok(json)) => Ok(json),
            (Some(_), Ok(json)) if json["error"].is_string() => {
                Err(ClientError::Refused(json["error"].as_str().unwrap_or_default().to_owned()))
            }
            _ => Err(self.broken(&head.lines().next().unwrap_or_default())),
        }
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { path: self.path.clone(), reason: reason.to_string() }
    }
}

/// Sends a request and reads the answer. Who refuses it, or needs no body, may answer and close before
/// all of it was sent: its answer counts nevertheless.
fn exchange(stream: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let is_closed = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    };
    let sent = stream.write_all(request);
    if let Err(error) = &sent
        && !is_closed(error)
    {
        return sent.map(|()| Vec::new());
    }
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer) {
        Ok(_) if !answer.is_empty() => Ok(answer),
        Err(error) if is_closed(&error) && !answer.is_empty() => Ok(answer),
        read => sent.and(read).map(|_| answer),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_answer_counts_although_the_request_was_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(socket::FILE)).unwrap();
        let server = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.read_exact(&mut [0; 10]).unwrap();
            stream.write_all(b"HTTP/1.1 413 \r\n\r\n{\"error\":\"too long\"}").unwrap();
        });
        // More than a socket holds.
        let said = Client::new(folder.path()).put("/v1/x", &vec![0; 4 << 20]);
        server.join().unwrap();
        assert!(matches!(&said, Err(ClientError::Refused(why)) if why == "too long"), "{said:?}");
    }
}
