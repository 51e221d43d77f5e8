//! A device, the line to it, and what cases do with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::device::Device;
use forebay::poll::{holds, transform};
use forebay_connector::{Connector, DeviceSpec, PollError, Quality, RawSample, Value};

use crate::RigFault;
use crate::bench::Bench;
use crate::line::{Line, State};
use crate::values::plausible;

/// Longest wait for a device that has been started or plugged in again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pause between two attempts and two polls.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a case did not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The product did something wrong.
    #[error("{0}")]
    Product(String),
    /// The rig did: it says nothing of the product.
    #[error("rig: {0}")]
    Rig(#[from] RigFault),
}

/// A fault of the product.
pub fn product<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Product(what.into()))
}

/// Everything a case has to do with.
pub struct Stand {
    /// The device as its profile has it.
    pub device: Arc<Device>,
    /// What the connector is given; its endpoint is this end of the line.
    pub spec: DeviceSpec,
    /// What answers.
    pub bench: Box<dyn Bench>,
    /// The line in between; none where nothing can stand in between.
    pub line: Option<Line>,
    /// An address that the device does not have.
    pub missing: Option<String>,
    /// What the device must say of itself; empty when that is not known.
    pub identity: String,
    /// What the device has said of itself.
    pub said: String,
    seed: u64,
}

impl Stand {
    /// Puts a device and its line together.
    pub fn new(device: Arc<Device>, spec: DeviceSpec, bench: Box<dyn Bench>, line: Option<Line>) -> Self {
        let (missing, identity, said) = (None, String::new(), String::new());
        Self { device, spec, bench, line, missing, identity, said, seed: 0 }
    }

    /// Gives the device values that no earlier call gave it; what each raw tag must read from now
    /// on, `None` where that is not known.
    pub async fn give(&mut self) -> Result<Vec<Option<Value>>, Trouble> {
        self.seed += 1;
        self.give_again().await
    }

    /// Gives the device the values of the last [`Stand::give`] once more.
    pub async fn give_again(&mut self) -> Result<Vec<Option<Value>>, Trouble> {
        let values = plausible(&self.device, self.seed);
        self.bench.set(&values).await?;
        let known = values.into_iter().enumerate();
        Ok(known.map(|(raw, value)| self.bench.sets(raw).then_some(value)).collect())
    }

    /// How many tags can be given a value.
    pub fn known(&self) -> usize {
        (0..self.device.spec.tags.len()).filter(|raw| self.bench.sets(*raw)).count()
    }

    /// A connector for `spec`, not yet connected.
    pub fn open(&self, spec: &DeviceSpec) -> Result<Box<dyn Connector>, Trouble> {
        let opened = self.device.protocol.open(spec.clone());
        opened.map_err(|fault| Trouble::Product(format!("the connector does not open: {fault}")))
    }

    /// Connects, as often as it takes.
    pub async fn connect(&mut self, connector: &mut dyn Connector) -> Result<(), Trouble> {
        let end = Instant::now() + PATIENCE;
        loop {
            match connector.connect().await {
                Ok(said) => {
                    self.said = said;
                    return Ok(());
                }
                Err(error) if Instant::now() > end => return product(format!("does not connect: {error}")),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// A connector that is connected.
    pub async fn connected(&mut self) -> Result<Box<dyn Connector>, Trouble> {
        let mut connector = self.open(&self.spec)?;
        self.connect(connector.as_mut()).await?;
        Ok(connector)
    }

    /// Changes what the line does.
    pub async fn set_line(&mut self, state: State) -> Result<(), Trouble> {
        match &mut self.line {
            Some(line) => Ok(line.set(state).await?),
            None => Err(RigFault("there is no line that could be cut".into()).into()),
        }
    }

    /// Compares what was read now with what must be read; good values within their range where
    /// nothing is known.
    pub fn compare(&self, samples: &[RawSample], wanted: &[Option<Value>]) -> Result<(), Trouble> {
        for ((raw, spec), wanted) in (0u32..).zip(self.device.spec.tags.iter()).zip(wanted) {
            let Some(sample) = samples.iter().rev().find(|sample| sample.tag == raw) else {
                return product(format!("{} ({}): no value", spec.path, spec.address));
            };
            let place = || format!("{} ({})", spec.path, spec.address);
            match wanted {
                Some(wanted) if (&sample.value, sample.quality) != (wanted, Quality::Good) => {
                    let RawSample { value, quality, .. } = sample;
                    return product(format!("{}: {value:?} {quality:?}, must be {wanted:?}", place()));
                }
                None if !sample.quality.is_good() => {
                    return product(format!("{}: quality is {}", place(), sample.quality.as_str()));
                }
                _ => self.check_range(sample)?,
            }
        }
        Ok(())
    }

    fn check_range(&self, sample: &RawSample) -> Result<(), Trouble> {
        for tag in self.device.tags.iter().filter(|tag| tag.raw == sample.tag) {
            let number = transform(tag.transform, &sample.value).as_f64();
            let (Some((low, high)), Some(number)) = (tag.range, number) else { continue };
            // A REAL is not as exact as the bounds are.
            let slack = 1e-6 * (high - low);
            if !(low - slack..=high + slack).contains(&number) {
                return product(format!("{}: {number} is not within {low} and {high}", tag.path));
            }
        }
        Ok(())
    }
}

/// Reads all tags of a spec at once, without waiting for a scan.
///
/// # Errors
/// As [`Connector::read`].
pub async fn read_all(connector: &mut dyn Connector, spec: &DeviceSpec) -> Result<Vec<RawSample>, PollError> {
    let all: Vec<u32> = (0u32..).take(spec.tags.len()).collect();
    let mut samples = Vec::new();
    connector.read(&all, &mut samples).await?;
    Ok(samples)
}

/// Polls all scan classes until every tag of a spec has come at least once.
///
/// # Errors
/// [`Trouble::Product`] when the connection breaks, or a tag does not come.
pub async fn poll_all(connector: &mut dyn Connector, spec: &DeviceSpec) -> Result<Vec<RawSample>, Trouble> {
    let due: Vec<usize> = (0..spec.scans.len()).collect();
    let end = Instant::now() + PATIENCE;
    let mut samples: Vec<RawSample> = Vec::new();
    loop {
        let polled = connector.poll(&due, &mut samples).await;
        polled.map_err(|error| Trouble::Product(format!("poll: {error}")))?;
        let missing =
            (0u32..).zip(spec.tags.iter()).find(|(raw, _)| samples.iter().all(|one| one.tag != *raw));
        match missing {
            None => return Ok(samples),
            Some((_, tag)) if Instant::now() > end => return product(format!("{}: no value came", tag.path)),
            Some(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Checks all `[[verify]]` of a device as the poller does; the first that does not hold is the
/// fault.
///
/// # Errors
/// [`Trouble::Product`] with the tag, its value and the words of the check.
pub fn accept(device: &Device, samples: &[RawSample]) -> Result<(), Trouble> {
    for verify in &device.verify {
        let spec = &device.spec.tags[verify.raw as usize];
        let sample = samples.iter().rev().find(|sample| sample.tag == verify.raw);
        let value = sample
            .filter(|sample| sample.quality.is_good())
            .map(|sample| transform(verify.transform, &sample.value));
        if !value.as_ref().is_some_and(|value| holds(&verify.expected, value)) {
            let why = verify.why.get("en");
            return product(format!("{} ({}) is {value:?}: {why}", spec.path, spec.address));
        }
    }
    Ok(())
}
