//! Every built-in profile is put to its test on our own simulator: all its values arrive, its
//! checks hold, and they do not hold with a wrong byte order or addresses off by one.
//!
//! The simulator shares the profile with what is tested, so this says nothing of the profile's
//! numbers: only a real device, or the source that the profile names, does.

use std::path::Path;
use std::sync::Arc;

use forebay::device::Device;
use forebay::profile::BUILTIN;
use forebay_connector::{ByteOrder, DeviceSpec, OptionValue, Value};

use crate::cases::{Stand, Trouble, accept, poll_all, read_all};
use crate::device::{Wanted, as_simulated, make, with};
use crate::rig::{Entry, Kind};
use crate::{RigFault, bench};

/// What a check says of a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caught {
    /// It does not hold any more.
    Yes,
    /// It holds all the same.
    No,
    /// The mistake changes no value of this profile.
    NoEffect,
}

/// What was found out about one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Name of the profile.
    pub name: String,
    /// Its title in English.
    pub title: String,
    /// Its protocol.
    pub protocol: String,
    /// Published tags.
    pub tags: usize,
    /// Where its numbers come from.
    pub source: String,
    /// What `checked` says; empty for an example of the language.
    pub checked: String,
    /// What its checks say of each other byte order; empty where the protocol has none.
    pub orders: Vec<(&'static str, Caught)>,
    /// What they say of addresses that are one too high, and one too low; `None` where addresses
    /// cannot be counted.
    pub shifts: Option<[Caught; 2]>,
}

/// Puts all built-in profiles to the test, in the order of their names.
///
/// # Errors
/// [`Trouble`] names the profile whose values or checks do not hold as they are.
pub async fn prove_all() -> Result<Vec<Proof>, Trouble> {
    let mut proofs = Vec::new();
    for (file, text) in BUILTIN {
        let proof = prove(file, text).await.map_err(|trouble| match trouble {
            Trouble::Product(what) => Trouble::Product(format!("{file}: {what}")),
            Trouble::Rig(fault) => Trouble::Rig(fault.at(file)),
        });
        proofs.push(proof?);
    }
    proofs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(proofs)
}

/// Puts one profile to the test.
///
/// # Errors
/// [`Trouble`] when its values or checks do not hold as they are.
pub async fn prove(file: &str, text: &str) -> Result<Proof, Trouble> {
    let state = std::env::temp_dir().join(format!("forebay-hil-{}-{file}", std::process::id()));
    let proof = on_simulator(file, text, &state).await;
    // Nothing may have been written there.
    let _removed = std::fs::remove_dir_all(&state);
    proof
}

async fn on_simulator(file: &str, text: &str, state: &Path) -> Result<Proof, Trouble> {
    let wanted = Wanted { name: "one".into(), keys: "allow_insecure = true\n".into() };
    let device = make(file, text, &wanted, None, state)?;
    let mut stand = stand(Arc::clone(&device)).await?;
    let values = stand.give().await?;
    let mut connector = stand.connected().await?;
    let samples = poll_all(connector.as_mut(), &stand.spec).await?;
    connector.close().await;
    stand.compare(&samples, &values)?;
    accept(&device, &samples)?;
    let mut orders = Vec::new();
    if let Some(OptionValue::Text(own)) = stand.spec.options.get("order").cloned() {
        for order in ByteOrder::NAMES.into_iter().filter(|order| *order != own) {
            let mut spec = stand.spec.clone();
            spec.options.insert("order".into(), OptionValue::Text(order.into()));
            orders.push((order, caught(&mut stand, &spec, &values).await?));
        }
    }
    let header: toml::Table = toml::from_str(text).map_err(|error| RigFault(error.to_string()))?;
    let of_header = |key: &str| {
        let value = header.get("profile").and_then(|profile| profile.get(key));
        value.and_then(toml::Value::as_str).unwrap_or_default().to_owned()
    };
    Ok(Proof {
        name: device.profile.clone(),
        title: device.title.get("en").to_owned(),
        protocol: device.protocol.name().to_owned(),
        tags: device.tags.len(),
        source: of_header("source"),
        checked: of_header("checked"),
        orders,
        shifts: shifts(&device, &mut stand, &values).await?,
    })
}

/// A simulator of the device, without a line. Its memory goes on behind the last tag, as that of
/// most devices does, so that an address that is one too high is answered there too.
async fn stand(device: Arc<Device>) -> Result<Stand, Trouble> {
    let mut larger = device.spec.clone();
    let shifted = shifted(&device, &device.spec).into_iter().flat_map(|spec| spec.tags.to_vec());
    larger.tags = larger.tags.iter().cloned().chain(shifted).collect();
    let entry = Entry { kind: Kind::Sim, ..Entry::default() };
    let bench = bench::start(&entry, &with_spec(&device, larger)).await?;
    let mut spec = device.spec.clone();
    as_simulated(&mut spec, device.protocol.name());
    spec.endpoint = bench.endpoint();
    Ok(Stand::new(device, spec, bench, None))
}

/// Reads the simulator with a wrong spec, and asks the checks.
async fn caught(stand: &mut Stand, spec: &DeviceSpec, right: &[Option<Value>]) -> Result<Caught, Trouble> {
    let mut connector = stand.open(spec)?;
    stand.connect(connector.as_mut()).await?;
    let samples = read_all(connector.as_mut(), spec).await;
    connector.close().await;
    Ok(match samples {
        Err(_) => Caught::Yes,
        Ok(samples) if accept(&stand.device, &samples).is_err() => Caught::Yes,
        Ok(samples) if stand.compare(&samples, right).is_ok() => Caught::NoEffect,
        Ok(_) => Caught::No,
    })
}

/// One too high: the addresses are moved. One too low: the simulator's are.
async fn shifts(
    device: &Arc<Device>,
    stand: &mut Stand,
    values: &[Option<Value>],
) -> Result<Option<[Caught; 2]>, Trouble> {
    let Some(high) = shifted(device, &stand.spec) else { return Ok(None) };
    let high = caught(stand, &high, values).await?;
    let Some(moved) = shifted(device, &device.spec) else { return Ok(None) };
    let mut other = self::stand(Arc::new(with_spec(device, moved))).await?;
    other.give().await?;
    let low = DeviceSpec { endpoint: other.spec.endpoint.clone(), ..stand.spec.clone() };
    let low = caught(&mut other, &low, values).await?;
    Ok(Some([high, low]))
}

/// The spec with all addresses one further on; `None` where they cannot be counted.
fn shifted(device: &Device, spec: &DeviceSpec) -> Option<DeviceSpec> {
    let mut spec = spec.clone();
    for tag in Arc::make_mut(&mut spec.tags) {
        tag.address = device.protocol.shift_address(&tag.address, 1).ok()?;
    }
    Some(spec)
}

fn with_spec(device: &Device, spec: DeviceSpec) -> Device {
    with(device, spec, Arc::clone(&device.protocol))
}

/// `docs/profile-library.md`.
pub fn document(proofs: &[Proof]) -> String {
    let real = proofs.iter().filter(|proof| !proof.checked.is_empty());
    let unread = real.clone().filter(|proof| proof.checked == "no").count();
    let mut text = format!(
        "# Profile library\n\n\
         Profiles that come with the program. This page is made by `cargo run -p forebay-hil -- --library \
         docs/profile-library.md`; a test compares it with the folder `profiles`.\n\n\
         **{} devices, {unread} of them never read with their profile on hardware.** What is proved here: our \
         own simulator, made from the same profile, gives every value back, and the checks of the profile \
         hold. What is not: that the numbers are those of the device. They are taken from the sources \
         below; where two sources disagree, the file says so, or the tag is left out. Read a new device with \
         `[[verify]]` in place, compare some values with its display, and tell us.\n\n\
         \"Byte order\" and \"address\" say which mistakes the checks of the profile find with plausible \
         values: another order of bytes, and all addresses one too high or too low.\n\n\
         | device | profile | protocol | tags | byte order | address | checked on hardware |\n\
         |---|---|---|---:|---|---|---|\n",
        real.count()
    );
    for Proof { name, title, protocol, tags, checked, orders, shifts, .. } in proofs {
        let checked = if checked.is_empty() { "example, no such device" } else { checked };
        let (orders, shifts) = (orders_in_words(orders), shifts_in_words(*shifts));
        text.push_str(&format!("| {title} | [`{name}`](../profiles/{name}.toml) | {protocol} | {tags} | {orders} | {shifts} | {checked} |\n"));
    }
    text.push_str("\n## Sources\n\n| profile | source |\n|---|---|\n");
    for Proof { name, source, .. } in proofs {
        text.push_str(&format!("| `{name}` | {source} |\n"));
    }
    text
}

fn orders_in_words(orders: &[(&'static str, Caught)]) -> String {
    let with = |wanted| orders.iter().filter(move |(_, caught)| *caught == wanted).map(|(order, _)| *order);
    if orders.is_empty() {
        return "–".into();
    }
    let missed: Vec<&str> = with(Caught::No).collect();
    let nothing: Vec<&str> = with(Caught::NoEffect).collect();
    match (missed.is_empty(), nothing.is_empty()) {
        (true, true) => "found".into(),
        (true, false) => format!("found ({} changes nothing)", nothing.join(", ")),
        (false, _) => format!("{} **not found**", missed.join(", ")),
    }
}

fn shifts_in_words(shifts: Option<[Caught; 2]>) -> &'static str {
    match shifts {
        None => "–",
        Some([Caught::No, Caught::No]) => "**not found**",
        Some([Caught::No, _]) => "too high **not found**",
        Some([_, Caught::No]) => "too low **not found**",
        Some(_) => "found",
    }
}
