//! A simulated device: a small OPC UA server on loopback.
//!
//! It serves the tags of a profile and, of namespace 0, only what a client asks a server about
//! itself: its list of namespaces, its state, its product. Without security, for guests, because
//! it is reachable from this machine only.

mod structure;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_connector::{DataType, DeviceSpec, OpenFault, OptionValue, Scalar, Simulator, Value};
use opcua::types::{
    DataTypeId, DataValue, DateTime, NodeId, ObjectId, StatusCode, UAString, VariableId, Variant,
};
use opcua_server::address_space::{AddressSpace, NodeType, ObjectBuilder, VariableBuilder};
use opcua_server::diagnostics::NamespaceMetadata;
use opcua_server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua_server::{Server, ServerBuilder, ServerHandle};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::address::NodeAddress;
use structure::Structure;

const CORE_URI: &str = "http://opcfoundation.org/UA/";
const APPLICATION_URI: &str = "urn:forebay:simulator";
/// Ticks of 100 ns from 1601 to 1970 (Part 6, 5.2.2.5).
const TICKS_TO_1970: i64 = 116_444_736_000_000_000;

/// How often changed values are looked through for those whose scan interval has passed.
const SAMPLER_TICK: Duration = Duration::from_millis(20);

/// A running simulated server.
pub(crate) struct SimulatedServer {
    shared: Arc<Shared>,
    _sampler: AbortOnDropHandle<()>,
}

struct Shared {
    address: SocketAddr,
    folder: PathBuf,
    tags: Vec<SimulatedTag>,
    structures: Vec<Structure>,
    uris: BTreeSet<String>,
    state: Mutex<State>,
}

struct SimulatedTag {
    address: NodeAddress,
    uri: String,
    data_type: DataType,
    interval: Duration,
    /// Of a field of a structure: the tag that stands for the whole, and its position in `structures`.
    whole: Option<(usize, usize)>,
}

struct State {
    values: Vec<DataValue>,
    /// When each tag was last sampled for subscribers.
    sampled: Vec<Instant>,
    /// Tags set since then.
    changed: BTreeSet<usize>,
    running: Option<Running>,
}

struct Running {
    handle: ServerHandle,
    /// For each tag its id in this run.
    nodes: Vec<NodeId>,
    task: AbortOnDropHandle<()>,
}

impl SimulatedServer {
    /// Starts a server for the tags of `device`.
    ///
    /// # Errors
    /// [`OpenFault`] when an address is wrong or no port can be had.
    pub(crate) async fn start(device: &DeviceSpec) -> Result<Self, OpenFault> {
        let aliases = match device.options.get("namespaces") {
            Some(OptionValue::Texts(texts)) => texts.clone(),
            _ => Default::default(),
        };
        let mut tags = device
            .tags
            .iter()
            .map(|tag| {
                let address = NodeAddress::parse(&tag.address).map_err(|fault| OpenFault {
                    message: format!("tag `{}`: {}", tag.path, fault.message),
                })?;
                let uri = match &address.alias {
                    None => CORE_URI.into(),
                    Some(alias) => aliases.get(alias).cloned().ok_or_else(|| OpenFault {
                        message: format!("tag `{}`: namespace `{alias}` is not declared", tag.path),
                    })?,
                };
                let interval = device.scans.get(tag.scan).map_or(Duration::ZERO, |scan| scan.interval);
                Ok(SimulatedTag { address, uri, data_type: tag.data_type, interval, whole: None })
            })
            .collect::<Result<Vec<_>, OpenFault>>()?;
        let structures = structures(&mut tags);
        let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr().map_err(|error| OpenFault { message: error.to_string() })?;
        let state = State {
            values: tags.iter().map(|tag| DataValue::new_now(initial(tag.data_type))).collect(),
            sampled: vec![Instant::now(); tags.len()],
            changed: BTreeSet::new(),
            running: None,
        };
        let shared = Arc::new(Shared {
            address,
            folder: device.state_directory.join("simulator"),
            uris: tags.iter().map(|tag| tag.uri.clone()).filter(|uri| uri != CORE_URI).collect(),
            tags,
            structures,
            state: Mutex::new(state),
        });
        shared.run(listener)?;
        let sampled = shared.clone();
        let sampler = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(SAMPLER_TICK);
            loop {
                ticks.tick().await;
                sampled.sample();
            }
        });
        Ok(Self { shared, _sampler: AbortOnDropHandle::new(sampler) })
    }
}

impl Shared {
    /// Starts a server with the values of now.
    fn run(&self, listener: TcpListener) -> Result<(), OpenFault> {
        let (server, handle) = self.build().map_err(|message| OpenFault { message })?;
        let nodes = self.fill(&handle)?;
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            // Ends with the simulator; what it says then has no reader.
            let _end = server.run_with(listener).await;
        }));
        self.lock().running = Some(Running { handle, nodes, task });
        Ok(())
    }

    fn build(&self) -> Result<(Server, ServerHandle), String> {
        let mut builder = ServerBuilder::new_anonymous("Forebay simulator")
            .application_uri(APPLICATION_URI)
            .product_uri(APPLICATION_URI)
            .create_sample_keypair(false)
            .pki_dir(&self.folder)
            .host(self.address.ip().to_string())
            .port(self.address.port())
            .subscription_poll_interval_ms(50);
        let limits = builder.limits_mut();
        limits.subscriptions.min_publishing_interval_ms = 50.0;
        limits.subscriptions.max_monitored_items_per_sub = 100_000;
        limits.subscriptions.max_monitored_item_queue_size = 1000;
        limits.subscriptions.max_subscriptions_per_session = 100;
        for uri in std::iter::once(CORE_URI).chain(self.uris.iter().map(String::as_str)) {
            let metadata = NamespaceMetadata { namespace_uri: uri.to_owned(), ..Default::default() };
            builder = builder.with_node_manager(simple_node_manager(metadata, uri));
        }
        builder.build()
    }

    /// Creates all nodes; returns the id of each tag.
    fn fill(&self, handle: &ServerHandle) -> Result<Vec<NodeId>, OpenFault> {
        let core = manager(handle, CORE_URI)?;
        fill_core(&mut core.address_space().write(), self.namespaces(handle));
        let state = self.lock();
        let mut nodes = Vec::with_capacity(self.tags.len());
        for (tag, place) in self.tags.iter().zip(0..) {
            let index = handle.get_namespace_index(&tag.uri).unwrap_or(0);
            let node = tag.address.resolve(index);
            let manager = manager(handle, &tag.uri)?;
            let mut space = manager.address_space().write();
            if !space.node_exists(&node) {
                let value = self.value(place, index, &state.values);
                let kind = match tag.whole {
                    Some((_, number)) => (self.structures[number].define(&mut space, index), None),
                    None => (data_type_id(tag.data_type.scalar).into(), tag.data_type.array_len),
                };
                variable(&mut space, &node, kind, value);
            }
            nodes.push(node);
        }
        Ok(nodes)
    }

    /// What the node of a tag has as its value: a structure is made of all its fields.
    fn value(&self, tag: usize, index: u16, values: &[DataValue]) -> DataValue {
        let Some((_, number)) = self.tags[tag].whole else { return values[tag].clone() };
        let leaf = |tag: usize| values.get(tag)?.value.clone();
        DataValue::new_now(self.structures[number].value(index, &leaf))
    }

    /// URIs by index.
    fn namespaces(&self, handle: &ServerHandle) -> Vec<String> {
        let mut known: Vec<(u16, String)> = std::iter::once(CORE_URI)
            .chain(self.uris.iter().map(String::as_str))
            .filter_map(|uri| Some((handle.get_namespace_index(uri)?, uri.to_owned())))
            .collect();
        known.sort();
        known.into_iter().map(|(_, uri)| uri).collect()
    }

    /// Sends subscribers the tags that were set, each at the pace of its scan class. The library's
    /// own sampling loses the last of several quick changes.
    fn sample(&self) {
        let State { values, sampled, changed, running } = &mut *self.lock();
        let Some(running) = running else { return };
        changed.retain(|index| {
            let tag = &self.tags[*index];
            if sampled[*index].elapsed() <= tag.interval + Duration::from_millis(1) {
                return true;
            }
            sampled[*index] = Instant::now();
            let mut value = self.value(*index, running.nodes[*index].namespace, values);
            value.source_timestamp = Some(DateTime::now());
            if let Ok(manager) = manager(&running.handle, &tag.uri) {
                // The node was created at start, so that it can be set.
                let _known =
                    manager.set_value(running.handle.subscriptions(), &running.nodes[*index], None, value);
            }
            false
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Simulator for SimulatedServer {
    fn endpoint(&self) -> String {
        format!("opc.tcp://{}/", self.shared.address)
    }

    fn set(&self, tag: u32, value: &Value) {
        let index = tag as usize;
        let Some(simulated) = self.shared.tags.get(index) else { return };
        let value = match encode(simulated.data_type, value) {
            Some(value) => DataValue::new_now(value),
            None => DataValue::new_now_status(Variant::Empty, StatusCode::BadNoData),
        };
        let mut state = self.shared.lock();
        state.values[index] = value;
        state.changed.insert(simulated.whole.map_or(index, |(leader, _)| leader));
        let Some(Running { handle, nodes, .. }) = &state.running else { return };
        let value = self.shared.value(index, nodes[index].namespace, &state.values);
        // Readers see the value at once.
        let Ok(manager) = manager(handle, &simulated.uri) else { return };
        if let Some(NodeType::Variable(node)) = manager.address_space().write().find_mut(&nodes[index]) {
            node.set_data_value(value);
        }
    }

    async fn unplug(&self, unplugged: bool) {
        let running = self.shared.lock().running.take();
        if let Some(Running { task, .. }) = running {
            // Connections end with the server that holds them.
            task.abort();
            let _aborted = task.await;
        }
        if unplugged {
            return;
        }
        if let Ok(listener) = bind(self.shared.address).await {
            // A server that started once starts again.
            let _started = self.shared.run(listener);
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, OpenFault> {
    TcpListener::bind(address)
        .await
        .map_err(|error| OpenFault { message: format!("no port for the simulator on {address}: {error}") })
}

fn manager(handle: &ServerHandle, uri: &str) -> Result<Arc<SimpleNodeManager>, OpenFault> {
    handle
        .node_managers()
        .get_by_name::<SimpleNodeManager>(uri)
        .ok_or_else(|| OpenFault { message: format!("the simulator has lost namespace {uri}") })
}

/// What a client asks a server about itself.
fn fill_core(space: &mut AddressSpace, namespaces: Vec<String>) {
    for (node, name) in
        [(ObjectId::RootFolder, "Root"), (ObjectId::ObjectsFolder, "Objects"), (ObjectId::Server, "Server")]
    {
        ObjectBuilder::new(&node.into(), name, name).insert(space);
    }
    let namespaces: Vec<UAString> = namespaces.into_iter().map(UAString::from).collect();
    let servers = vec![UAString::from(APPLICATION_URI)];
    for (variable, kind, value) in [
        (VariableId::Server_NamespaceArray, DataTypeId::String, Variant::from(namespaces)),
        (VariableId::Server_ServerArray, DataTypeId::String, Variant::from(servers)),
        (VariableId::Server_ServerStatus_State, DataTypeId::ServerState, Variant::from(0i32)),
        (VariableId::Server_ServerStatus_CurrentTime, DataTypeId::UtcTime, Variant::from(DateTime::now())),
        (
            VariableId::Server_ServerStatus_BuildInfo_ProductName,
            DataTypeId::String,
            Variant::from("Forebay simulator"),
        ),
        (
            VariableId::Server_ServerStatus_BuildInfo_SoftwareVersion,
            DataTypeId::String,
            Variant::from(env!("CARGO_PKG_VERSION")),
        ),
    ] {
        let name = format!("{variable:?}");
        VariableBuilder::new(&variable.into(), name.as_str(), name.as_str())
            .data_type(kind)
            .value(value)
            .organized_by(ObjectId::Server)
            .insert(space);
    }
}

/// Marks the tags that are fields of one structure.
fn structures(tags: &mut [SimulatedTag]) -> Vec<Structure> {
    let mut nodes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, tag) in tags.iter().enumerate().filter(|(_, tag)| tag.address.field.is_some()) {
        nodes.entry(tag.address.node()).or_default().push(place);
    }
    let mut structures = Vec::new();
    for (name, places) in nodes {
        for place in &places {
            tags[*place].whole = Some((places[0], structures.len()));
        }
        let fields = places
            .iter()
            .filter_map(|it| Some((*it, tags[*it].address.field.as_deref()?, tags[*it].data_type)));
        structures.push(Structure::of(name, fields));
    }
    structures
}

fn variable(
    space: &mut AddressSpace,
    node: &NodeId,
    (data_type, array_len): (NodeId, Option<u16>),
    value: DataValue,
) {
    let name = node.identifier.to_string();
    let mut builder = VariableBuilder::new(node, name.as_str(), name.as_str())
        .data_type(data_type)
        .organized_by(ObjectId::ObjectsFolder);
    if let Some(length) = array_len {
        builder = builder.value_rank(1).array_dimensions(&[u32::from(length)]);
    }
    builder.insert(space);
    if let Some(NodeType::Variable(variable)) = space.find_mut(node) {
        variable.set_data_value(value);
    }
}

fn data_type_id(scalar: Scalar) -> DataTypeId {
    match scalar {
        Scalar::Bool => DataTypeId::Boolean,
        Scalar::Sint => DataTypeId::SByte,
        Scalar::Byte | Scalar::Usint => DataTypeId::Byte,
        Scalar::Int => DataTypeId::Int16,
        Scalar::Word | Scalar::Uint | Scalar::Bcd | Scalar::S5time => DataTypeId::UInt16,
        Scalar::Dint | Scalar::Time => DataTypeId::Int32,
        Scalar::Dword | Scalar::Udint | Scalar::Lbcd | Scalar::Tod => DataTypeId::UInt32,
        Scalar::Lint => DataTypeId::Int64,
        Scalar::Lword | Scalar::Ulint => DataTypeId::UInt64,
        Scalar::Real => DataTypeId::Float,
        Scalar::Lreal => DataTypeId::Double,
        Scalar::Char | Scalar::Wchar | Scalar::String(_) | Scalar::Wstring(_) | Scalar::Date => {
            DataTypeId::String
        }
        Scalar::DateAndTime | Scalar::Dtl | Scalar::DateTime => DataTypeId::DateTime,
    }
}

/// Zero, or what comes nearest.
fn initial(data_type: DataType) -> Variant {
    let zero = match data_type.scalar {
        Scalar::Bool => Value::Bool(false),
        Scalar::Real => Value::Real(0.0),
        Scalar::Lreal => Value::Lreal(0.0),
        Scalar::Char | Scalar::Wchar => Value::Text(" ".into()),
        Scalar::String(_) | Scalar::Wstring(_) => Value::Text("".into()),
        Scalar::Dtl | Scalar::DateTime => Value::DateTime(0),
        _ => Value::Int(0),
    };
    let value = match data_type.array_len {
        Some(length) => Value::Array(vec![zero; usize::from(length)].into()),
        None => zero,
    };
    encode(data_type, &value).unwrap_or_default()
}

/// The value as the server sends it, `None` when it does not fit the type.
fn encode(data_type: DataType, value: &Value) -> Option<Variant> {
    let Value::Array(values) = value else { return encode_scalar(data_type.scalar, value) };
    let values: Vec<Variant> =
        values.iter().map(|value| encode_scalar(data_type.scalar, value)).collect::<Option<_>>()?;
    let kind = values.first()?.scalar_type_id()?;
    opcua::types::Array::new(kind, values).ok().map(Variant::from)
}

fn encode_scalar(scalar: Scalar, value: &Value) -> Option<Variant> {
    let whole = || match value {
        Value::Int(number) => Some(i128::from(*number)),
        Value::Uint(number) => Some(i128::from(*number)),
        _ => None,
    };
    Some(match (scalar, value) {
        (Scalar::Bool, Value::Bool(bit)) => Variant::from(*bit),
        (Scalar::Sint, _) => Variant::from(i8::try_from(whole()?).ok()?),
        (Scalar::Byte | Scalar::Usint, _) => Variant::from(u8::try_from(whole()?).ok()?),
        (Scalar::Int, _) => Variant::from(i16::try_from(whole()?).ok()?),
        (Scalar::Word | Scalar::Uint, _) => Variant::from(u16::try_from(whole()?).ok()?),
        (Scalar::Dint | Scalar::Time, _) => Variant::from(i32::try_from(whole()?).ok()?),
        (Scalar::Dword | Scalar::Udint, _) => Variant::from(u32::try_from(whole()?).ok()?),
        (Scalar::Lint, _) => Variant::from(i64::try_from(whole()?).ok()?),
        (Scalar::Lword | Scalar::Ulint, _) => Variant::from(u64::try_from(whole()?).ok()?),
        (Scalar::Real, Value::Real(number)) => Variant::from(*number),
        #[allow(clippy::cast_possible_truncation)] // a simulated REAL may be rounded
        (Scalar::Real, _) => Variant::from(value.as_f64()? as f32),
        (Scalar::Lreal, _) => Variant::from(value.as_f64()?),
        (Scalar::Char | Scalar::Wchar | Scalar::String(_) | Scalar::Wstring(_), Value::Text(text)) => {
            Variant::from(&**text)
        }
        (Scalar::Dtl | Scalar::DateTime, Value::DateTime(us)) => {
            Variant::from(DateTime::from(us.checked_mul(10)?.checked_add(TICKS_TO_1970)?))
        }
        _ => return None,
    })
}
