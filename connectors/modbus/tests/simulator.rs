//! The simulated device, read by the connector over a real socket.

use forebay_connector::{OptionValue, PollError, Protocol, Quality, Value};
use forebay_modbus::Modbus;

use crate::double::{connect_and_poll, device, open, poll};

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

/// Address, type, value.
fn everything() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("co:3", "BOOL", Value::Bool(true)),
        ("00005", "BOOL[3]", Value::Array([true, false, true].map(Value::Bool).into())),
        ("10021", "BOOL", Value::Bool(true)),
        ("30001", "REAL", Value::Real(41.2)),
        ("30003", "LREAL", Value::Lreal(-1.5e300)),
        ("30011", "INT", Value::Int(-2)),
        ("40001", "UINT", Value::Uint(65_535)),
        ("40002", "DINT", Value::Int(-100_000)),
        ("40004", "UDINT", Value::Uint(4_000_000_000)),
        ("40006", "LINT", Value::Int(i64::MIN)),
        ("40010", "ULINT", Value::Uint(u64::MAX)),
        ("40014", "TIME", Value::Int(-1)),
        ("40016", "STRING[5]", text("Fülle")),
        ("40019", "WSTRING[4]", text("Öl €")),
        ("40023.0", "BOOL", Value::Bool(true)),
        ("40023.15", "BOOL", Value::Bool(true)),
        ("40023.7", "BOOL", Value::Bool(false)),
        ("40024", "WORD", Value::Uint(0xBEEF)),
        ("40025", "DWORD", Value::Uint(0xDEAD_BEEF)),
        ("40027", "LWORD", Value::Uint(0x0123_4567_89AB_CDEF)),
        ("40040", "REAL[3]", Value::Array([1.0, -2.5, 1e-30].map(Value::Real).into())),
        ("40050", "BCD", Value::Uint(9876)),
        ("40051", "LBCD", Value::Uint(12_345_678)),
        ("40053", "BCD[2]", Value::Array([1, 9999].map(Value::Uint).into())),
        ("465535", "DINT", Value::Int(7)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_in_every_order_is_read_as_it_was_set() {
    let mut everything = everything();
    everything
        .iter_mut()
        .filter(|(_, data_type, _)| *data_type == "STRING[5]")
        .for_each(|tag| tag.2 = text("Fluid"));
    let tags: Vec<_> = everything.iter().map(|(address, data_type, _)| (*address, *data_type, 0)).collect();
    for order in ["ABCD", "CDAB", "BADC", "DCBA"] {
        let options = [("order", OptionValue::Text(order.into())), ("max_gap", OptionValue::Int(50))];
        let mut spec = device("", &options, &tags);
        let simulator = Modbus.simulate(&spec).await.unwrap();
        for (tag, (.., value)) in (0u32..).zip(&everything) {
            simulator.set(tag, value);
        }
        spec.endpoint = simulator.endpoint();
        let mut connector = open(spec);
        let samples = connect_and_poll(&mut connector, &[0]).await.unwrap();
        assert_eq!(samples.len(), everything.len());
        for ((address, data_type, value), (tag, sample)) in everything.iter().zip((0u32..).zip(&samples)) {
            assert_eq!(
                (sample.tag, &sample.value, sample.quality),
                (tag, value, Quality::Good),
                "{address} {data_type} {order}"
            );
        }
        // Coils, discrete inputs, input registers, holding registers, the last holding register.
        assert_eq!(connector.requests(), 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unplugged_it_is_gone_and_comes_back_with_its_values() {
    let mut spec = device("", &[], &[("hr:0", "UINT", 0)]);
    let simulator = Modbus.simulate(&spec).await.unwrap();
    simulator.set(0, &Value::Uint(7));
    // Not of this type: leaves the value alone.
    simulator.set(0, &text("seven"));
    spec.endpoint = simulator.endpoint();
    let mut connector = open(spec.clone());
    for _ in 0..3 {
        let samples = connect_and_poll(&mut connector, &[0]).await.unwrap();
        assert_eq!(samples[0].value, Value::Uint(7));
        simulator.unplug(true).await;
        let outcome = poll(&mut connector, &[0]).await;
        assert!(matches!(outcome, Err(PollError::Lost { .. })), "{outcome:?}");
        let outcome = connector.connect().await;
        assert!(matches!(outcome, Err(PollError::Connect { .. })), "{outcome:?}");
        simulator.unplug(false).await;
        assert_eq!(simulator.endpoint(), spec.endpoint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_other_units_and_what_lies_beyond() {
    let spec = device("", &[], &[("hr:0", "UINT", 0), ("hr:4", "UINT", 0)]);
    let simulator = Modbus.simulate(&spec).await.unwrap();
    let endpoint = simulator.endpoint();
    let tags = [("hr:4", "UINT", 0), ("hr:5", "UINT", 0), ("hr:2", "UINT", 0)];
    let samples = connect_and_poll(&mut open(device(&endpoint, &[], &tags)), &[0]).await.unwrap();
    let qualities: Vec<_> = samples.iter().map(|sample| sample.quality).collect();
    assert_eq!(qualities, [Quality::Good, Quality::Refused, Quality::Good]);
    let mut stranger = open(device(&endpoint, &[("unit_id", OptionValue::Int(9))], &tags));
    let outcome = connect_and_poll(&mut stranger, &[0]).await;
    assert!(matches!(outcome, Err(PollError::Refused { .. })), "{outcome:?}");
}

#[tokio::test]
async fn dropping_it_frees_the_port() {
    let simulator = Modbus.simulate(&device("", &[], &[("hr:0", "UINT", 0)])).await.unwrap();
    let address = simulator.endpoint().strip_prefix("tcp://").unwrap().to_owned();
    drop(simulator);
    // The aborted task ends when the runtime gets to it.
    let free = async {
        while tokio::net::TcpListener::bind(&address).await.is_err() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), free).await.unwrap();
}

#[test]
fn a_device_is_checked_as_a_whole() {
    let tags = [("hr:0", "REAL[8]", 0), ("nonsense", "INT", 0)];
    let codes = |endpoint: &str, options: &[(&str, OptionValue)]| -> Vec<_> {
        let complaints = Modbus.check_device(&device(endpoint, options, &tags));
        complaints.iter().map(|complaint| (complaint.code, complaint.key)).collect()
    };
    let (unit, registers) = (("unit_id", OptionValue::Int(250)), ("max_registers", OptionValue::Int(15)));
    let serial = "serial:///dev/ttyS1?baud=9600&parity=none";
    assert_eq!(codes("tcp://10.0.0.1", &[]), []);
    assert_eq!(codes(serial, &[]), []);
    assert_eq!(
        codes("serial:///dev/ttyS1", &[unit, registers]),
        [("M0301", "endpoint"), ("M0304", "unit_id"), ("M0305", "max_registers")]
    );
    for unit in [0, 255] {
        let unit = [("unit_id", OptionValue::Int(unit))];
        assert_eq!(codes("tcp://10.0.0.1", &unit), [], "a device with its own Ethernet port");
        assert_eq!(codes(serial, &unit), [("M0304", "unit_id")]);
        assert_eq!(codes("rtu+tcp://10.0.0.1:4001", &unit), [("M0304", "unit_id")]);
    }
    let fault = Modbus.open(device("serial:///dev/ttyS1", &[], &tags)).err().unwrap();
    assert!(fault.message.contains("baud of the serial line is missing"), "{}", fault.message);
    let fault = Modbus.open(device("tcp://10.0.0.1", &[], &tags)).err().unwrap();
    assert!(fault.message.contains("`tag.nonsense`"), "{}", fault.message);
}

#[test]
fn addresses_are_shifted_for_repeat() {
    assert_eq!(Modbus.shift_address("hr:0", 14).as_deref(), Ok("40015"));
    assert_eq!(Modbus.shift_address("465536", 1).map_err(|fault| fault.code), Err("M0205"));
    assert_eq!(Modbus.shift_address("41", 1).map_err(|fault| fault.code), Err("M0201"));
}

#[test]
fn one_serial_port_has_one_set_of_parameters() {
    let open = |settings: &str| {
        let endpoint = format!("serial:///dev/forebay-test-line?{settings}");
        Modbus.open(device(&endpoint, &[], &[("hr:0", "UINT", 0)]))
    };
    let first = open("baud=9600&parity=even").unwrap();
    assert!(open("parity=even&baud=9600&stop=1&data=8").is_ok(), "the same in other words");
    let fault = open("baud=19200&parity=even").err().unwrap();
    assert!(fault.message.contains("baud=19200") && fault.message.contains("baud=9600"), "{}", fault.message);
    drop(first);
    assert!(open("baud=19200&parity=even").is_ok(), "nobody else is on the line any more");
}

#[test]
fn a_tag_wider_than_a_request_of_coils_is_found() {
    let tags = [("co:0", "BOOL[40]", 0)];
    let complaints =
        Modbus.check_device(&device("tcp://10.0.0.1", &[("max_coils", OptionValue::Int(32))], &tags));
    assert_eq!(complaints.iter().map(|c| (c.code, c.key)).collect::<Vec<_>>(), [("M0305", "max_coils")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_looked_at_with_its_bytes() {
    let tags = [("hr:3", "REAL", 0), ("co:9", "BOOL[3]", 0), ("hr:90", "UINT", 0)];
    let mut spec = device("", &[("order", OptionValue::Text("CDAB".into()))], &tags[..2]);
    let simulator = Modbus.simulate(&spec).await.unwrap();
    simulator.set(0, &Value::Real(41.2));
    simulator.set(1, &Value::Array([true, false, true].map(Value::Bool).into()));
    spec = device(&simulator.endpoint(), &[("order", OptionValue::Text("CDAB".into()))], &tags);
    let mut connector = open(spec);
    connector.connect().await.unwrap();
    let look = connector.look(0).await.unwrap();
    assert_eq!((look.sample.value, look.bytes), (Value::Real(41.2), Some(vec![0xCC, 0xCD, 0x42, 0x24])));
    let look = connector.look(1).await.unwrap();
    assert_eq!(look.bytes, Some(vec![0b101]));
    let look = connector.look(2).await.unwrap();
    assert_eq!((look.sample.quality, look.bytes), (Quality::Refused, None));
    let words = connector.refusal(2).unwrap();
    assert!(words.contains("holding register 91 (wire 90, function 03)"), "{words}");
}
