//! The cases themselves are tested: a connector with a fault must fail them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use forebay_connector::{
    Address, AddressFault, Connector, DataType, DeviceComplaint, DeviceSpec, OpenFault, OptionKey, PollError,
    Protocol, Quality, RawSample, Simulator, Value,
};
use forebay_hil::bench;
use forebay_hil::cases::{CASES, Stand, Trouble};
use forebay_hil::device::{Wanted, as_simulated, make, with};
use forebay_hil::line::Line;
use forebay_hil::rig::{Entry, Kind};
use forebay_hil::{root, runner};

/// What is wrong with the connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing.
    None,
    /// An answer that did not come in time is that of the next read.
    TakesLateAnswers,
    /// One refused address spoils all.
    OneSpoilsAll,
    /// The first value of a tag is that of the second.
    Mixes,
}

struct Faulty(Arc<dyn Protocol>, Fault);

#[async_trait]
impl Protocol for Faulty {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn options(&self) -> &'static [OptionKey] {
        self.0.options()
    }
    fn check_address(&self, address: &str, data_type: DataType) -> Result<Address, AddressFault> {
        self.0.check_address(address, data_type)
    }
    fn shift_address(&self, address: &str, by: u32) -> Result<String, AddressFault> {
        self.0.shift_address(address, by)
    }
    fn check_device(&self, device: &DeviceSpec) -> Vec<DeviceComplaint> {
        self.0.check_device(device)
    }
    fn open(&self, device: DeviceSpec) -> Result<Box<dyn Connector>, OpenFault> {
        let inner = self.0.open(device)?;
        Ok(Box::new(FaultyConnector { inner, fault: self.1, last: Mutex::default(), late: false }))
    }
    async fn simulate(&self, device: &DeviceSpec) -> Result<Box<dyn Simulator>, OpenFault> {
        self.0.simulate(device).await
    }
}

struct FaultyConnector {
    inner: Box<dyn Connector>,
    fault: Fault,
    last: Mutex<Vec<RawSample>>,
    late: bool,
}

impl FaultyConnector {
    fn spoil(&mut self, samples: &mut [RawSample]) {
        match self.fault {
            Fault::OneSpoilsAll if samples.iter().any(|sample| sample.quality == Quality::Refused) => {
                for sample in samples {
                    (sample.value, sample.quality) = (Value::Null, Quality::Refused);
                }
            }
            Fault::Mixes if samples.len() > 1 => samples[0].value = samples[1].value.clone(),
            _ => {}
        }
    }
}

#[async_trait]
impl Connector for FaultyConnector {
    async fn connect(&mut self) -> Result<String, PollError> {
        self.inner.connect().await
    }
    async fn poll(&mut self, due: &[usize], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        self.inner.poll(due, samples).await?;
        self.spoil(samples);
        Ok(())
    }
    async fn read(&mut self, tags: &[u32], samples: &mut Vec<RawSample>) -> Result<(), PollError> {
        if std::mem::take(&mut self.late) {
            samples.extend(self.last.lock().expect("one user").iter().cloned());
            return Ok(());
        }
        let read = self.inner.read(tags, samples).await;
        if read.is_err() && self.fault == Fault::TakesLateAnswers {
            self.late = true;
        }
        read?;
        *self.last.lock().expect("one user") = samples.clone();
        self.spoil(samples);
        Ok(())
    }
    fn requests(&self) -> u64 {
        self.inner.requests()
    }
    async fn close(&mut self) {
        self.inner.close().await;
    }
}

/// The meter on our own simulator, read by a connector with this fault.
async fn stand(fault: Fault) -> Stand {
    let file = "profiles/eastron-sdm630.toml";
    let text = std::fs::read_to_string(root().join(file)).expect("the profile is there");
    let wanted = Wanted { name: "meter".into(), keys: String::new() };
    let device = make(file, &text, &wanted, None, &std::env::temp_dir()).expect("the profile is right");
    let entry = Entry { kind: Kind::Sim, ..Entry::default() };
    let bench = bench::start(&entry, &device).await.expect("it starts");
    let mut spec = device.spec.clone();
    as_simulated(&mut spec, "modbus");
    let line = Line::to(&runner::host_and_port(&bench.endpoint(), "modbus")).await.expect("a port");
    spec.endpoint = format!("tcp://{}", line.address());
    let protocol = Arc::new(Faulty(Arc::clone(&device.protocol), fault));
    let faulty = with(&device, device.spec.clone(), protocol);
    let mut stand = Stand::new(Arc::new(faulty), spec, bench, Some(line));
    stand.missing = Some("36000".into());
    stand
}

/// The cases that a connector with this fault fails.
async fn failed(fault: Fault, cases: &[&'static str]) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for case in CASES.iter().filter(|case| cases.contains(&case.id)) {
        // A stand of its own: a failed case leaves it as it is.
        match (case.run)(&mut stand(fault).await).await {
            Ok(_) => {}
            Err(Trouble::Product(_)) => failed.push(case.id),
            Err(Trouble::Rig(rig)) => panic!("{}: {rig}", case.id),
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_with_a_fault_fails_the_case_about_it() {
    let (values, late, bad) = ("values", "late-answer", "bad-address");
    let all = [values, late, bad, "verify", "replug", "restart", "readable"];
    assert_eq!(failed(Fault::None, &all).await, [""; 0]);
    assert_eq!(failed(Fault::TakesLateAnswers, &[values, late, bad]).await, [late]);
    assert_eq!(failed(Fault::OneSpoilsAll, &[values, bad]).await, [bad]);
    assert_eq!(failed(Fault::Mixes, &[values]).await, [values]);
}
