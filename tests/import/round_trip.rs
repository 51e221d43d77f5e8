//! Import, check, simulate, poll: the values of the source come out, from our own simulated devices and
//! from foreign ones that know nothing of our addresses.

use std::sync::Arc;

use forebay::config::check_files;
use forebay::device::{Device, Transform};
use forebay::diagnostic::Format;
use forebay_connector::{Connector, DataType, Quality, RawSample, Scalar, Value};
use tokio::runtime::Runtime;

use super::{arguments, import};
use crate::support::{Peer, Python, root};

/// Imports a folder of `tests/import` anew, checks the profile as a file, and gives its device.
fn imported(case: &str) -> Arc<Device> {
    let folder = root().join("tests/import").join(case);
    let imported = import(&arguments(&folder));
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    std::fs::write(file.path(), &imported.profile).expect("it is written");
    let mut checked = check_files(&[file.path().to_owned()]);
    assert_eq!(checked.errors(), 0, "{}", checked.render(Format::Text, false));
    checked.devices.pop().expect("the profile has a device")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Connects to `endpoint` and reads all scan classes once.
fn poll(runtime: &Runtime, device: &Device, endpoint: String) -> Vec<RawSample> {
    let mut spec = device.spec.clone();
    spec.endpoint = endpoint;
    let due: Vec<usize> = (0..spec.scans.len()).collect();
    let mut connector: Box<dyn Connector> = device.protocol.open(spec).expect("the device opens");
    let mut samples = Vec::new();
    runtime.block_on(async {
        connector.connect().await.expect("it connects");
        connector.poll(&due, &mut samples).await.expect("it answers");
    });
    samples
}

/// The value of a tag by its path; it must be good.
fn value<'a>(device: &Device, samples: &'a [RawSample], path: &str) -> &'a Value {
    let tag = &device.tags[device.tag_index(path).unwrap_or_else(|| panic!("no tag {path}"))];
    let sample =
        samples.iter().find(|sample| sample.tag == tag.raw).unwrap_or_else(|| panic!("no value of {path}"));
    assert_eq!(sample.quality, Quality::Good, "{path}");
    &sample.value
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// A value that a tag of this type can have; another one for every tag.
fn some_value(data_type: DataType, number: u32) -> Value {
    let small = i64::from(number) + 1;
    let one = match data_type.scalar {
        Scalar::Bool => Value::Bool(number.is_multiple_of(2)),
        Scalar::Real => Value::Real(f32::from(u16::try_from(small).unwrap_or(1)) + 0.5),
        Scalar::Lreal => Value::Lreal(f64::from(number) + 0.25),
        Scalar::String(_) | Scalar::Wstring(_) => text(&format!("t{small}")),
        Scalar::Dtl | Scalar::DateAndTime => Value::DateTime(1_770_000_000_000_000 + small * 1_000_000),
        Scalar::Sint | Scalar::Int | Scalar::Dint | Scalar::Lint | Scalar::Time => Value::Int(-small),
        _ => Value::Uint(u64::from(number) + 1),
    };
    match data_type.array_len {
        None => one,
        Some(len) => Value::Array(vec![one; usize::from(len)].into()),
    }
}

#[test]
fn what_is_imported_is_simulated_and_polled() {
    let runtime = runtime();
    for case in ["kepware-s7", "kepware-modbus", "tia-db-press"] {
        let device = imported(case);
        let simulator = runtime.block_on(device.protocol.simulate(&device.spec)).expect("a simulated device");
        let values: Vec<Value> =
            device.spec.tags.iter().zip(0..).map(|(tag, number)| some_value(tag.data_type, number)).collect();
        for (number, value) in (0..).zip(&values) {
            simulator.set(number, value);
        }
        let samples = poll(&runtime, &device, simulator.endpoint());
        assert_eq!(samples.len(), values.len(), "{case}");
        for sample in samples {
            let index = sample.tag as usize;
            let tag = &device.spec.tags[index];
            assert_eq!(
                (&sample.value, sample.quality),
                (&values[index], Quality::Good),
                "{case}: {}",
                tag.path
            );
        }
    }
}

#[test]
fn a_block_filled_by_python_snap7_is_read_at_the_computed_offsets() {
    let runtime = runtime();
    let mut layout = Peer::start(Python::Current, "s7_layout.py", &[]);
    let mut server = Peer::start(Python::Current, "s7_server.py", &["--port", "0"]);
    let block = layout.command("press");
    server.command(&format!("db 10 {}", block.len() / 2));
    server.command(&format!("set 10 0 {block}"));
    let device = imported("tia-db-press");
    let samples = poll(&runtime, &device, format!("127.0.0.1:{}", server.port));
    let expected = [
        ("DB_Forebay.LayoutVersion", Value::Uint(3)),
        ("Status.Running", Value::Bool(true)),
        ("Status.Fault", Value::Bool(false)),
        ("Status.GuardOpen", Value::Bool(true)),
        ("Status.MaintMode", Value::Bool(false)),
        ("Status.State", Value::Int(-6)),
        ("Status.FaultWord", Value::Uint(0x0102)),
        ("DB_Forebay.StrokeCount", Value::Uint(4_000_000_001)),
        ("DB_Forebay.PartCount", Value::Uint(17)),
        ("DB_Forebay.CycleTime", Value::Int(1200)),
        ("DB_Forebay.SlideForce", Value::Real(6300.5)),
        ("DB_Forebay.SlideForceSet", Value::Real(6200.25)),
        ("DB_Forebay.SlidePos", Value::Real(-1.5)),
        ("DB_Forebay.HydPressure", Value::Real(212.75)),
        ("DB_Forebay.OilTemp", Value::Real(48.5)),
        ("DB_Forebay.VibDE", Value::Real(1.25)),
        ("DB_Forebay.VibNDE", Value::Real(2.5)),
        ("DB_Forebay.MotorCurrent", Value::Real(410.0)),
        ("DB_Forebay.Recipe", text("Rezept 7b")),
        // 2026-07-01T12:00:00 as if the controller's clock ran on UTC.
        ("DB_Forebay.FaultSince", Value::DateTime(1_782_907_200_000_000)),
        ("Station.1.DieTemp", Value::Real(101.0)),
        ("Station.1.Cushion", Value::Real(11.0)),
        ("Station.1.Parts", Value::Uint(1001)),
        ("Station.1.Code", Value::Int(-1)),
        ("Station.2.DieTemp", Value::Real(102.0)),
        ("Station.3.DieTemp", Value::Real(103.0)),
        ("Station.4.DieTemp", Value::Real(104.0)),
        ("Station.4.Cushion", Value::Real(14.0)),
        ("Station.4.Parts", Value::Uint(1004)),
        ("Station.4.Code", Value::Int(-4)),
    ];
    for (path, wanted) in &expected {
        assert_eq!(value(&device, &samples, path), wanted, "{path}");
    }
    // The members of the second and third station are not written by the peer.
    assert_eq!(samples.len(), 20 + 4 * 4);

    let block = layout.command("types");
    server.command(&format!("db 77 {}", block.len() / 2));
    server.command(&format!("set 77 0 {block}"));
    let device = imported("tia-db-types");
    let samples = poll(&runtime, &device, format!("127.0.0.1:{}", server.port));
    for (path, wanted) in [
        ("DB_Line.Flag_1", Value::Bool(true)),
        ("DB_Line.B1", Value::Uint(0xA5)),
        ("DB_Line.Flag2", Value::Bool(false)),
        ("DB_Line.Flag3", Value::Bool(true)),
        ("DB_Line.W1", Value::Uint(0xBEEF)),
        ("DB_Line.Odd", text("abcde")),
        ("Motor.Speed", Value::Real(1450.0)),
        ("Motor_Limits.Lo", Value::Real(0.5)),
        ("Motor_Limits.Hi", Value::Real(1500.5)),
        ("Motor.On", Value::Bool(true)),
        ("Motors.0.Speed", Value::Real(10.0)),
        ("Motors_Limits.2.Hi", Value::Real(32.5)),
    ] {
        assert_eq!(*value(&device, &samples, path), wanted, "{path}");
    }
}

/// Kepware's addresses against bytes that python-snap7 has put where TIA shows them.
#[test]
fn kepware_addresses_of_a_cpu_mean_what_they_mean_there() {
    let runtime = runtime();
    let mut layout = Peer::start(Python::Current, "s7_layout.py", &[]);
    let mut server = Peer::start(Python::Current, "s7_server.py", &["--port", "0"]);
    let block = layout.command("press");
    server.command("db 10 200");
    server.command(&format!("set 10 0 {block}"));
    server.command("seti 64 6C00");
    server.command("setm 10 02");
    let device = imported("kepware-s7");
    let samples = poll(&runtime, &device, format!("127.0.0.1:{}", server.port));
    for (path, wanted) in [
        ("Press.Running", Value::Bool(true)),
        ("Press.Fault", Value::Bool(false)),
        ("Press.State", Value::Int(-6)),
        ("Press_Hydraulics.Pressure", Value::Real(212.75)),
        ("Press_Hydraulics.OilTemp", Value::Real(48.5)),
        ("Press_Hydraulics.OilLevel", Value::Int(27_648)),
        ("Press_Slide.Position", Value::Real(-1.5)),
        ("Press_Production.Strokes", Value::Uint(4_000_000_001)),
        ("Press_Production.CycleTime", Value::Int(1200)),
        ("Press_Production.Recipe", text("Rezept 7b")),
        ("Press_Production.FaultSince", Value::DateTime(1_782_907_200_000_000)),
        ("Press.Lube_ok", Value::Bool(true)),
    ] {
        assert_eq!(*value(&device, &samples, path), wanted, "{path}");
    }
    let level = &device.tags[device.tag_index("Press_Hydraulics.OilLevel").expect("it is there")];
    assert_eq!(
        level.transform,
        Transform::Linear { scale: 100.0 / 27648.0, offset: 0.0, clamp: Some((0.0, 100.0)) }
    );
}

/// Kepware's addresses against registers of pymodbus, by their offsets on the wire.
#[test]
fn kepware_addresses_of_a_meter_mean_what_they_mean_there() {
    let runtime = runtime();
    let mut server = Peer::start(Python::Current, "modbus_server.py", &["--unit", "12"]);
    for command in [
        "setv hr 0 CDAB FLOAT32 231.5",
        "setv hr 2 CDAB FLOAT32 232.5",
        "setv hr 4 CDAB FLOAT32 233.5",
        "setv ir 52 CDAB FLOAT32 12.25",
        "setv ir 62 ABCD INT16 -987",
        "setv hr 72 CDAB UINT32 4000000002",
        "set hr 100 4660",
        "setv hr 101 CDAB UINT32 0x12345678",
        "setv hr 109 CDAB INT64 -9000000000000000003",
        "set hr 199 8",
        "set co 4 1",
        "set di 0 1 0 1 0 0 0 0 1",
        "setv hr 299 ABCD STRING SDM630",
        "set ir 399 1 2 3 4 5 6 7 8 9 10",
        "set hr 15 16",
    ] {
        server.command(command);
    }
    // "V2.1" with the low byte of each register first.
    server.command(&format!("set hr 309 {} {} 0 0", u16::from_le_bytes(*b"V2"), u16::from_le_bytes(*b".1")));
    let mut device = imported("kepware-modbus");
    // pymodbus has fewer registers than this tag's number.
    let shorter = Arc::get_mut(&mut device).expect("nobody else has it");
    let high = shorter.spec.tags.iter().position(|tag| tag.address == "412345").expect("it is there");
    Arc::make_mut(&mut shorter.spec.tags)[high].address = "44096".to_owned();
    let samples = poll(&runtime, &device, format!("tcp://127.0.0.1:{}", server.port));
    let bits = [true, false, true, false, false, false, false, true].map(Value::Bool);
    let numbers: Vec<Value> = (1..=10).map(Value::Int).collect();
    for (path, wanted) in [
        ("Voltage.L1", Value::Real(231.5)),
        ("Voltage.L2", Value::Real(232.5)),
        ("Voltage.L3", Value::Real(233.5)),
        ("Power.Total", Value::Real(12.25)),
        ("Power.Factor", Value::Int(-987)),
        ("Energy.Import", Value::Uint(4_000_000_002)),
        ("Energy.Ticks", Value::Uint(1234)),
        ("Energy.Serial", Value::Uint(12_345_678)),
        ("Energy.Big", Value::Int(-9_000_000_000_000_000_003)),
        ("Status.Alarm", Value::Bool(true)),
        ("Status.Relay", Value::Bool(true)),
        ("Status.Inputs", Value::Array(bits.into())),
        ("Name.Plate", text("SDM630")),
        ("Name.Firmware", text("V2.1")),
        ("main.Harmonics", Value::Array(numbers.into())),
        ("main.Hex", Value::Uint(16)),
    ] {
        assert_eq!(*value(&device, &samples, path), wanted, "{path}");
    }
}
