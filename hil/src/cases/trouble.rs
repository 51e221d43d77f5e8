//! Cases in which something goes wrong on purpose.

use std::time::{Duration, Instant};

use forebay_connector::{Connector, DataType, DeviceSpec, PollError, Quality, RawSample, TagSpec, Value};

use super::stand::{Stand, Trouble, poll_all, product, read_all};
use crate::RigFault;
use crate::line::State;

/// Longest time within which trouble must be noticed.
const NOTICED: Duration = Duration::from_secs(60);

/// Good reads in a row after which a device counts as back.
const BACK: usize = 3;

/// One tag more, at an address that the device does not have.
pub async fn bad_address(stand: &mut Stand) -> Result<String, Trouble> {
    let wanted = stand.give().await?;
    let mut spec = stand.spec.clone();
    let address = stand.missing.clone().unwrap_or_default();
    let types = ["UINT", "BYTE", "WORD", "DINT", "REAL", "BOOL"];
    let fits = |name: &&str| {
        DataType::parse(name).filter(|kind| stand.device.protocol.check_address(&address, *kind).is_ok())
    };
    let Some(data_type) = types.iter().find_map(fits) else {
        return Err(RigFault(format!("missing = \"{address}\" is no address")).into());
    };
    let scan = spec.tags.first().map_or(0, |tag| tag.scan);
    let (order, deadband) = (None, None);
    let bad = TagSpec { path: "rig.missing".into(), address, data_type, order, scan, deadband };
    spec.tags = spec.tags.iter().cloned().chain([bad]).collect();
    let mut connector = stand.open(&spec)?;
    stand.connect(connector.as_mut()).await?;
    for _ in 0..BACK {
        let samples = poll_all(connector.as_mut(), &spec).await?;
        stand.compare(&samples, &wanted)?;
        let missing = samples.iter().rev().find(|sample| sample.tag as usize == stand.spec.tags.len());
        match missing {
            Some(sample) if sample.quality != Quality::Good && sample.value == Value::Null => {}
            other => return product(format!("the missing address gave {other:?}")),
        }
        // A subscription says everything once; the next round begins anew.
        stand.connect(connector.as_mut()).await?;
    }
    connector.close().await;
    Ok("its tag is refused, all others are good".into())
}

/// The cable is out for a while.
pub async fn replug(stand: &mut Stand) -> Result<String, Trouble> {
    let wanted = stand.give().await?;
    let mut connector = stand.connected().await?;
    stand.compare(&read(connector.as_mut(), &stand.spec).await?, &wanted)?;
    stand.set_line(State::Cut).await?;
    let noticed = until_error(connector.as_mut(), &stand.spec).await?;
    let Err(refused) = connector.connect().await else {
        return product("connects although the cable is out");
    };
    stand.set_line(State::Open).await?;
    stand.connect(connector.as_mut()).await?;
    let samples = poll_all(connector.as_mut(), &stand.spec).await?;
    connector.close().await;
    stand.compare(&samples, &wanted)?;
    Ok(format!("noticed as \"{noticed}\", then \"{refused}\", then back"))
}

/// Answers come after the longest wait; meanwhile the values have changed.
pub async fn late_answer(stand: &mut Stand) -> Result<String, Trouble> {
    let before = stand.give().await?;
    let mut connector = stand.connected().await?;
    stand.compare(&read(connector.as_mut(), &stand.spec).await?, &before)?;
    stand.set_line(State::Held).await?;
    let begun = Instant::now();
    let noticed = match read_all(connector.as_mut(), &stand.spec).await {
        Err(error @ (PollError::Timeout { .. } | PollError::Lost { .. })) => error,
        other => return product(format!("no answer came, and yet: {other:?}")),
    };
    let waited = begun.elapsed();
    if waited > NOTICED {
        return product(format!("noticed only after {} s", waited.as_secs()));
    }
    let after = stand.give().await?;
    // The late answers arrive now.
    stand.set_line(State::Open).await?;
    stand.connect(connector.as_mut()).await?;
    for _ in 0..BACK {
        stand.compare(&read(connector.as_mut(), &stand.spec).await?, &after)?;
    }
    connector.close().await;
    Ok(format!("\"{noticed}\", and then only new values"))
}

/// The device loses its supply while it is read without a pause.
pub async fn restart(stand: &mut Stand) -> Result<String, Trouble> {
    let wanted = stand.give().await?;
    let mut connector = stand.connected().await?;
    let mut reads = 0usize;
    let begun = Instant::now();
    while reads < 10 * BACK {
        stand.compare(&read(connector.as_mut(), &stand.spec).await?, &wanted)?;
        reads += 1;
    }
    stand.bench.stop().await?;
    let noticed = until_error(connector.as_mut(), &stand.spec).await?;
    let away = Instant::now();
    // The supply is back, and the device does not have its values yet: nothing of it is compared.
    stand.bench.start().await?;
    let wanted = stand.give_again().await.map(|_| wanted)?;
    if let Some(line) = &stand.line {
        line.lead_to(&crate::runner::host_and_port(&stand.bench.endpoint(), stand.device.protocol.name()))
            .await?;
    }
    stand.connect(connector.as_mut()).await?;
    for _ in 0..BACK {
        stand.compare(&read(connector.as_mut(), &stand.spec).await?, &wanted)?;
    }
    connector.close().await;
    let ran = away.duration_since(begun).as_millis();
    Ok(format!("{reads} reads, \"{noticed}\" after {ran} ms, then the same values"))
}

async fn read(connector: &mut dyn Connector, spec: &DeviceSpec) -> Result<Vec<RawSample>, Trouble> {
    let read = read_all(connector, spec).await;
    read.map_err(|error| Trouble::Product(format!("read: {error}")))
}

/// Reads until it fails, and gives the words.
async fn until_error(connector: &mut dyn Connector, spec: &DeviceSpec) -> Result<String, Trouble> {
    let end = Instant::now() + NOTICED;
    loop {
        if let Err(error) = read_all(connector, spec).await {
            return Ok(error.to_string());
        }
        if Instant::now() > end {
            return product(format!("answers still come after {} s", NOTICED.as_secs()));
        }
    }
}
