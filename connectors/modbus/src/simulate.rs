//! A simulated device: a Modbus server that holds the tags of a `DeviceSpec`.
//!
//! Each table reaches from 0 to the last tag in it; what lies between the tags is 0 and readable,
//! as on most devices, so that reading over gaps works. Beyond the last tag every read is refused
//! with exception 02, other units than the device's with 0B, and every write with 01.

use std::future::{Ready, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use forebay_connector::{DeviceSpec, OpenFault, Simulator, Value};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

use crate::address::{MAX_BITS, MAX_REGISTERS, Table};
use crate::connector::items;
use crate::encode;
use crate::plan::Item;
use crate::settings::Settings;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// The simulated device.
pub struct ModbusSimulator {
    items: Vec<Item>,
    image: Arc<StdMutex<Image>>,
    address: SocketAddr,
    /// Bound, never listening: the port stays ours while the device is unplugged.
    _reserved: TcpSocket,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// What the device holds.
struct Image {
    unit: u8,
    unplugged: bool,
    coils: Vec<bool>,
    discrete_inputs: Vec<bool>,
    input_registers: Vec<u16>,
    holding_registers: Vec<u16>,
}

impl ModbusSimulator {
    /// Starts on 127.0.0.1, on a port the system chooses.
    ///
    /// # Errors
    /// [`OpenFault`] for faulty addresses and when no port can be had.
    pub fn start(device: &DeviceSpec) -> Result<Self, OpenFault> {
        let settings = Settings::options(device);
        let items = items(device, &settings)?;
        let sockets = || -> io::Result<_> {
            let reserved = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let address = reserved.local_addr()?;
            Ok((reserved, address, listen(address)?))
        };
        let (reserved, address, listener) = sockets().map_err(|error| OpenFault {
            message: format!("no port on 127.0.0.1 to simulate on: {error}"),
        })?;
        let image = Arc::new(StdMutex::new(Image::new(&items, settings.unit)));
        let server = Mutex::new(Some(serve(listener, Arc::clone(&image))));
        Ok(Self { items, image, address, _reserved: reserved, server })
    }
}

#[async_trait]
impl Simulator for ModbusSimulator {
    fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// A value that the tag's type cannot hold leaves the tag as it was.
    fn set(&self, tag: u32, value: &Value) {
        if let Some(item) = self.items.get(tag as usize) {
            lock(&self.image).set(item, value);
        }
    }

    async fn unplug(&self, unplugged: bool) {
        let mut server = self.server.lock().await;
        lock(&self.image).unplugged = unplugged;
        if unplugged {
            if let Some(task) = server.take() {
                task.abort();
                // Ended by the abort just now; there is nothing to learn from it.
                let _aborted = task.await;
            }
        } else if server.is_none() {
            // The port is reserved: listening fails only when the system has no sockets left.
            *server = listen(self.address).ok().map(|listener| serve(listener, Arc::clone(&self.image)));
        }
    }
}

impl Drop for ModbusSimulator {
    fn drop(&mut self) {
        if let Some(task) = self.server.get_mut() {
            task.abort();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

/// Serves until aborted; the connections end with the task.
fn serve(listener: TcpListener, image: Arc<StdMutex<Image>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let server = Server::new(listener);
        let device = Device(image);
        let on_connected = |stream: TcpStream, peer| {
            let device = device.clone();
            async move {
                // Fails when the client has gone already; an error here would end all connections.
                let here = stream.set_nodelay(true).is_ok();
                accept_tcp_connection(stream, peer, |_| Ok(here.then(|| device.clone())))
            }
        };
        // A failed accept, for want of file handles perhaps, is not the end.
        while server.serve(&on_connected, |_error| {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

fn lock(image: &StdMutex<Image>) -> MutexGuard<'_, Image> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Image {
    fn new(items: &[Item], unit: u8) -> Self {
        let len = |table| {
            let ends = items.iter().filter(|item| item.place.table == table).map(Item::end);
            ends.max().unwrap_or_default() as usize
        };
        Self {
            unit,
            unplugged: false,
            coils: vec![false; len(Table::Coils)],
            discrete_inputs: vec![false; len(Table::DiscreteInputs)],
            input_registers: vec![0; len(Table::InputRegisters)],
            holding_registers: vec![0; len(Table::HoldingRegisters)],
        }
    }

    fn set(&mut self, item: &Item, value: &Value) {
        let start = usize::from(item.place.start);
        let words = match item.place.table {
            Table::Coils => return put(&mut self.coils, start, encode::bits(item, value)),
            Table::DiscreteInputs => return put(&mut self.discrete_inputs, start, encode::bits(item, value)),
            Table::InputRegisters => &mut self.input_registers,
            Table::HoldingRegisters => &mut self.holding_registers,
        };
        match (item.place.bit, value) {
            (None, value) => put(words, start, encode::registers(item, value)),
            (Some(bit), Value::Bool(set)) => {
                let mask = encode::ordered(item.order, vec![1 << bit])[0];
                words[start] = if *set { words[start] | mask } else { words[start] & !mask };
            }
            (Some(_), _) => {}
        }
    }

    fn answer(&self, asked: &SlaveRequest<'_>) -> Result<Option<Response>, ExceptionCode> {
        if self.unplugged {
            return Ok(None);
        }
        if asked.slave != self.unit {
            return Err(ExceptionCode::GatewayTargetDevice);
        }
        Ok(Some(match asked.request {
            Request::ReadCoils(start, count) => {
                Response::ReadCoils(part(&self.coils, start, count, MAX_BITS)?)
            }
            Request::ReadDiscreteInputs(start, count) => {
                Response::ReadDiscreteInputs(part(&self.discrete_inputs, start, count, MAX_BITS)?)
            }
            Request::ReadInputRegisters(start, count) => {
                Response::ReadInputRegisters(part(&self.input_registers, start, count, MAX_REGISTERS)?)
            }
            Request::ReadHoldingRegisters(start, count) => {
                Response::ReadHoldingRegisters(part(&self.holding_registers, start, count, MAX_REGISTERS)?)
            }
            _ => return Err(ExceptionCode::IllegalFunction),
        }))
    }
}

fn put<T: Copy>(image: &mut [T], start: usize, values: Option<Vec<T>>) {
    if let Some(values) = values {
        image[start..start + values.len()].copy_from_slice(&values);
    }
}

fn part<T: Clone>(image: &[T], start: u16, count: u16, limit: u16) -> Result<Vec<T>, ExceptionCode> {
    if count == 0 || count > limit {
        return Err(ExceptionCode::IllegalDataValue);
    }
    let start = usize::from(start);
    let part = image.get(start..start + usize::from(count)).ok_or(ExceptionCode::IllegalDataAddress)?;
    Ok(part.to_vec())
}

#[derive(Clone)]
struct Device(Arc<StdMutex<Image>>);

impl Service for Device {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Self::Response, Self::Exception>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(lock(&self.0).answer(&request))
    }
}
