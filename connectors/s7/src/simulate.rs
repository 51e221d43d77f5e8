//! A simulated CPU: serves the tags of a profile to any S7 client, and only reads.
//!
//! It is strict where servers found elsewhere are not: nothing is read before the communication is
//! set up, and neither a request nor an answer may be larger than the agreed PDU.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use forebay_connector::{Simulator, Value};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::address::{Area, Place};
use crate::encode;
use crate::frame::{
    self, Cotp, ITEM_GOOD, ITEMS_MAX, Message, REPLY_HEAD_BYTES, REPLY_ITEM_BYTES, REQUEST_ITEM_BYTES,
};
use crate::identity;
use crate::szl::{self, ListId};
use crate::wire::{Wire, WireFault};

/// Connections served at once; a real CPU has fewer.
const CONNECTIONS_MAX: usize = 32;

/// Process images, bit memory, timers and counters exist in every CPU; they are at least this
/// large here.
const AREA_BYTES: usize = 1024;

/// Name given as order number.
const ORDER: &str = "Forebay simulator";

/// The memory of the CPU.
struct Memory {
    places: Vec<Place>,
    areas: Mutex<HashMap<Area, Vec<u8>>>,
    /// Largest PDU the CPU agrees to.
    pdu_bytes: u16,
}

/// What runs while the CPU is plugged in.
struct Server {
    accept: JoinHandle<()>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// The simulated CPU.
pub(crate) struct S7Simulator {
    endpoint: SocketAddr,
    /// Bound, never listening: keeps the port ours while the CPU is unplugged.
    _port: TcpSocket,
    memory: Arc<Memory>,
    server: tokio::sync::Mutex<Option<Server>>,
}

impl S7Simulator {
    /// Starts a CPU with all bytes 0.
    pub(crate) async fn start(places: Vec<Place>, pdu_bytes: u16) -> io::Result<Self> {
        let always = [Area::Input, Area::Periphery, Area::Output, Area::Memory, Area::Timer, Area::Counter];
        let always = always.map(|area| (area, vec![0; AREA_BYTES]));
        let mut areas = HashMap::from(always);
        for place in &places {
            let area: &mut Vec<u8> = areas.entry(place.area).or_default();
            let bytes = ((place.byte + place.len_bytes) as usize).next_multiple_of(2);
            area.resize(area.len().max(bytes), 0);
        }
        let memory = Arc::new(Memory { places, areas: Mutex::new(areas), pdu_bytes });
        let port = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let endpoint = port.local_addr()?;
        let server = Server::start(endpoint, &memory)?;
        Ok(Self { endpoint, _port: port, memory, server: tokio::sync::Mutex::new(Some(server)) })
    }
}

#[async_trait]
impl Simulator for S7Simulator {
    fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    fn set(&self, tag: u32, value: &Value) {
        let Some(place) = self.memory.places.get(tag as usize) else { return };
        let mut areas = self.memory.areas();
        let bytes = areas
            .get_mut(&place.area)
            .and_then(|area| area.get_mut(place.byte as usize..(place.byte + place.len_bytes) as usize));
        if let Some(bytes) = bytes {
            encode::value(place, value, bytes);
        }
    }

    async fn unplug(&self, unplugged: bool) {
        let mut server = self.server.lock().await;
        if unplugged {
            if let Some(server) = server.take() {
                server.stop().await;
            }
        } else if server.is_none() {
            // The port is ours all the time: listening on it again can only fail for want of
            // sockets, and then the CPU stays away.
            *server = Server::start(self.endpoint, &self.memory).ok();
        }
    }
}

/// A socket on this address that may share it with sockets that do not listen.
fn socket(endpoint: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(endpoint)?;
    Ok(socket)
}

impl Server {
    fn start(endpoint: SocketAddr, memory: &Arc<Memory>) -> io::Result<Self> {
        let listener = socket(endpoint)?.listen(64)?;
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accept = tokio::spawn(accept(listener, Arc::clone(memory), Arc::clone(&connections)));
        Ok(Self { accept, connections })
    }

    /// Ends when the port is closed and all connections are.
    async fn stop(mut self) {
        self.accept.abort();
        // An aborted task ends with an error; that it ended is all that counts.
        let _aborted = (&mut self.accept).await;
        let mut connections = std::mem::take(&mut *lock(&self.connections));
        connections.shutdown().await;
    }
}

/// A panic elsewhere leaves plain data behind a lock, which stays valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, memory: Arc<Memory>, connections: Arc<Mutex<JoinSet<()>>>) {
    loop {
        // An error here belongs to a client that is gone already.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut connections = lock(&connections);
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            let memory = Arc::clone(&memory);
            connections.spawn(async move {
                // A client that leaves or talks nonsense is dropped, as by a CPU.
                let _gone = serve(stream, &memory).await;
            });
        }
    }
}

/// Serves one client until it leaves.
async fn serve(stream: TcpStream, memory: &Memory) -> Result<(), WireFault> {
    let mut wire = Wire::new(stream)?;
    let Cotp::Request { source, size_exponent } = wire.unit().await? else {
        return Ok(frame::bad("no connection request")?);
    };
    let exponent = size_exponent.min(10);
    let mut out = Vec::new();
    frame::write_frame(&mut out, |out| {
        out.extend([9, 0xD0]);
        out.extend(source.to_be_bytes());
        out.extend([0, 1, 0, 0xC0, 1, exponent]);
    });
    wire.send(&out).await?;

    // An answer fits one unit of the transport.
    let largest = memory.pdu_bytes.min((1 << exponent) - 3);
    let mut pdu_bytes = None;
    loop {
        let bytes = wire.message().await?;
        let message = frame::parse_message(bytes)?;
        let reference = message.reference;
        match (message.kind, message.parameters, pdu_bytes) {
            (1, [0xF0, _, _, _, _, _, high, low], _) => {
                let agreed = u16::from_be_bytes([*high, *low]).min(largest);
                pdu_bytes = Some(usize::from(agreed));
                frame::write_data(&mut out, |out| {
                    frame::write_head(out, 3, reference, 8, 0);
                    out.extend([0, 0, 0xF0, 0, 0, 1, 0, 1]);
                    out.extend(agreed.to_be_bytes());
                });
            }
            (1, [4, count, items @ ..], Some(pdu_bytes)) => {
                if bytes.len() > pdu_bytes || !memory.read(&mut out, reference, *count, items, pdu_bytes) {
                    write_error(&mut out, reference, 0x8500);
                }
            }
            (1, _, Some(_)) => write_error(&mut out, reference, 0x8104),
            (7, ..) => answer_user_data(&mut out, &message),
            _ => return Ok(frame::bad("a request before the communication is set up")?),
        }
        wire.send(&out).await?;
    }
}

/// Answer without data: error class and code.
fn write_error(out: &mut Vec<u8>, reference: u16, error: u16) {
    frame::write_data(out, |out| {
        frame::write_head(out, 2, reference, 0, 0);
        out.extend(error.to_be_bytes());
    });
}

fn answer_user_data(out: &mut Vec<u8>, message: &Message<'_>) {
    let asked = match message.data {
        [_, _, _, _, id1, id0, index1, index0] => {
            ListId { id: u16::from_be_bytes([*id1, *id0]), index: u16::from_be_bytes([*index1, *index0]) }
        }
        _ => return szl::write_unknown(out, message.reference),
    };
    match asked {
        identity::MODULE => {
            szl::write_answer(out, message.reference, asked, &[&identity::module_record(ORDER)])
        }
        _ => szl::write_unknown(out, message.reference),
    }
}

impl Memory {
    fn areas(&self) -> MutexGuard<'_, HashMap<Area, Vec<u8>>> {
        lock(&self.areas)
    }

    /// Writes the answer to a read request; `false` when it would be larger than the PDU, or the
    /// request has too many items or other lengths than it says.
    fn read(&self, out: &mut Vec<u8>, reference: u16, count: u8, items: &[u8], pdu_bytes: usize) -> bool {
        let items = items.chunks_exact(REQUEST_ITEM_BYTES);
        if items.len() != usize::from(count) || !items.remainder().is_empty() || items.len() > ITEMS_MAX {
            return false;
        }
        let areas = self.areas();
        let mut data = Vec::with_capacity(pdu_bytes);
        for item in items {
            if data.len() % 2 == 1 {
                data.push(0);
            }
            if let Err(code) = read_item(&areas, item, &mut data) {
                data.extend([code, 0, 0, 0]);
            }
            if data.len() + REPLY_HEAD_BYTES > pdu_bytes {
                return false;
            }
        }
        frame::write_data(out, |out| {
            frame::write_head(out, 3, reference, 2, data.len());
            out.extend([0, 0, 4, count]);
            out.extend(&data);
        });
        true
    }
}

/// Appends the answer to one item, or says with which return code it is refused.
fn read_item(areas: &HashMap<Area, Vec<u8>>, item: &[u8], data: &mut Vec<u8>) -> Result<(), u8> {
    let [0x12, 10, 0x10, size, c1, c0, d1, d0, area, a2, a1, a0] = item else { return Err(0x06) };
    let count = usize::from(u16::from_be_bytes([*c1, *c0]));
    let pointer = u32::from_be_bytes([0, *a2, *a1, *a0]);
    let area = Area::from_code(*area, u16::from_be_bytes([*d1, *d0])).ok_or(0x0A)?;
    let memory = areas.get(&area).ok_or(0x0A)?;
    // Timers and counters are counted one by one, and read as nothing else.
    let element = area.element_bytes();
    if element.is_some() != (*size == area.code()) {
        return Err(0x06);
    }
    let start = element.map_or(pointer / 8, |bytes| pointer * bytes) as usize;
    // Bytes of one element, transport size of the answer, unit of its length in bytes.
    let (width, answer, unit) = match size {
        1 if count == 1 => {
            let byte = memory.get(start).ok_or(0x05)?;
            data.extend([ITEM_GOOD, 3, 0, 1, byte >> (pointer % 8) & 1]);
            return Ok(());
        }
        2 => (1, 4, 8),
        3 => (1, 9, 1),
        4 => (2, 4, 8),
        5 => (2, 5, 8),
        6 => (4, 4, 8),
        7 => (4, 5, 8),
        8 => (4, 7, 1),
        0x1C | 0x1D => (2, 9, 1),
        _ => return Err(0x06),
    };
    let bytes = memory.get(start..start + count * width).ok_or(0x05)?;
    let length = u16::try_from(bytes.len() * unit).map_err(|_| 0x05)?;
    data.reserve(REPLY_ITEM_BYTES + bytes.len());
    data.extend([ITEM_GOOD, answer]);
    data.extend(length.to_be_bytes());
    data.extend(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The double would be worth nothing if it took what a CPU does not.
    #[test]
    fn the_pdu_is_never_exceeded() {
        let areas = Mutex::new(HashMap::from([(Area::Db(1), vec![7; 1000])]));
        let memory = Memory { places: Vec::new(), areas, pdu_bytes: 240 };
        let item = |len: u8, db: u8| [0x12, 10, 0x10, 2, 0, len, 0, db, 0x84, 0, 0, 0];
        let mut out = Vec::new();
        let mut read = |count: u8, items: &[u8]| memory.read(&mut out, 1, count, items, 240);
        assert!(read(1, &item(222, 1)), "18 bytes of overhead are left");
        assert!(!read(1, &item(223, 1)));
        assert!(read(2, &[item(101, 1), item(116, 1)].concat()), "with a filling byte");
        assert!(!read(2, &[item(101, 1), item(117, 1)].concat()));
        assert!(read(20, &item(1, 1).repeat(20)));
        assert!(!read(21, &item(1, 9).repeat(21)), "more than twenty items");
        assert!(!read(2, &item(1, 1)), "fewer than announced");
    }
}
