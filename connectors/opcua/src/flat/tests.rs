use opcua::types::{
    Array, BinaryEncodable, ByteString, ContextOwned, DataChangeNotification, DataValue, DateTime,
    DecodingOptions, DiagnosticInfo, ExtensionObject, Guid, MonitoredItemNotification, NodeId,
    NotificationMessage, PublishResponse, ReadResponse, ResponseHeader, StatusCode, Variant,
    VariantScalarTypeId,
};

use super::*;
use crate::answers::try_answer;

/// The limits of the client.
fn context() -> ContextOwned {
    let options =
        DecodingOptions { max_array_length: 1 << 16, max_string_length: 1 << 16, ..Default::default() };
    ContextOwned::new_default(Default::default(), options)
}

fn answer(id: u16, body: &impl BinaryEncodable) -> Vec<u8> {
    let owned = context();
    [NodeId::new(0, u32::from(id)).encode_to_vec(&owned.context()), body.encode_to_vec(&owned.context())]
        .concat()
}

fn full(value: Variant) -> DataValue {
    DataValue {
        value: Some(value),
        status: Some(StatusCode::UncertainLastUsableValue),
        source_timestamp: Some(DateTime::now()),
        source_picoseconds: Some(7),
        server_timestamp: Some(DateTime::now()),
        server_picoseconds: Some(9),
    }
}

/// Values of all flat types, alone and in arrays.
fn flat_values() -> Vec<DataValue> {
    let scalars = [
        Variant::Empty,
        Variant::Boolean(true),
        Variant::SByte(-1),
        Variant::Byte(255),
        Variant::Int16(i16::MIN),
        Variant::UInt16(u16::MAX),
        Variant::Int32(i32::MIN),
        Variant::UInt32(u32::MAX),
        Variant::Int64(i64::MIN),
        Variant::UInt64(u64::MAX),
        Variant::Float(1.5),
        Variant::Double(-0.0),
        Variant::from("Überdruck"),
        Variant::String(opcua::types::UAString::null()),
        Variant::DateTime(Box::new(DateTime::now())),
        Variant::Guid(Box::new(Guid::new())),
        Variant::ByteString(ByteString::from(vec![1, 2, 22, 24])),
        Variant::StatusCode(StatusCode::BadCommunicationError),
    ];
    let arrays = [
        Variant::from(vec![true; 40]),
        Variant::from(vec![1u8, 2, 3]),
        Variant::from(vec![1.5f64; 20]),
        Variant::from(vec!["a".to_owned(), String::new()]),
        Variant::from(vec![0i32; 0]),
    ];
    let bare = [
        DataValue::default(),
        DataValue { status: Some(StatusCode::BadNodeIdUnknown), ..Default::default() },
    ];
    let alone = scalars.clone().into_iter().chain(arrays.clone()).map(DataValue::value_only);
    alone.chain(scalars.into_iter().chain(arrays).map(full)).chain(bare).collect()
}

fn read(values: Vec<DataValue>) -> Vec<u8> {
    let response = ReadResponse { response_header: header(), results: Some(values), diagnostic_infos: None };
    answer(READ_RESPONSE, &response)
}

fn header() -> ResponseHeader {
    ResponseHeader { timestamp: DateTime::now(), request_handle: 5, ..ResponseHeader::null() }
}

fn publish(notifications: Option<Vec<ExtensionObject>>) -> Vec<u8> {
    let message = NotificationMessage {
        sequence_number: 3,
        publish_time: DateTime::now(),
        notification_data: notifications,
    };
    let response = PublishResponse {
        response_header: header(),
        subscription_id: 8,
        available_sequence_numbers: Some(vec![1, 2, 3]),
        more_notifications: true,
        notification_message: message,
        results: Some(vec![StatusCode::Good; 2]),
        diagnostic_infos: None,
    };
    answer(PUBLISH_RESPONSE, &response)
}

fn changes(values: Vec<DataValue>) -> ExtensionObject {
    let item = |value| MonitoredItemNotification { client_handle: 4, value };
    let monitored_items = Some(values.into_iter().map(item).collect());
    ExtensionObject::from_message(DataChangeNotification { monitored_items, diagnostic_infos: None })
}

#[test]
fn what_servers_answer_all_day_is_flat() {
    for value in flat_values() {
        assert!(is_flat(&read(vec![value.clone()])), "{value:?}");
        assert!(is_flat(&publish(Some(vec![changes(vec![value.clone()])]))), "{value:?}");
    }
    let all = flat_values();
    assert!(is_flat(&read(all.clone())) && is_flat(&read(Vec::new())));
    assert!(is_flat(&publish(Some(vec![changes(all.clone()), changes(all)]))));
    assert!(is_flat(&publish(None)), "nothing has changed");
}

#[test]
fn what_may_be_nested_or_is_longer_than_it_is_gets_its_trial() {
    let nested = [
        Variant::Variant(Box::new(Variant::Int32(1))),
        Variant::from(DataValue::value_only(1)),
        Variant::ExtensionObject(ExtensionObject::null()),
        Variant::from(DiagnosticInfo::null()),
        Variant::from(NodeId::new(0, 1)),
        Variant::from(opcua::types::LocalizedText::from("x")),
        Variant::from(
            Array::new(VariantScalarTypeId::Variant, vec![Variant::Variant(Box::new(Variant::Int32(1)))])
                .expect("values"),
        ),
        Variant::from(
            Array::new_multi(VariantScalarTypeId::Byte, vec![1u8.into(); 4], vec![2, 2]).expect("a matrix"),
        ),
    ];
    for value in nested {
        assert!(!is_flat(&read(vec![DataValue::value_only(value.clone())])), "{value:?}");
    }
    let told = ReadResponse {
        response_header: header(),
        results: None,
        diagnostic_infos: Some(vec![DiagnosticInfo::null()]),
    };
    assert!(!is_flat(&answer(READ_RESPONSE, &told)));
    let flat = read(flat_values());
    assert!(!is_flat(&[&flat[..], &[0]].concat()), "more than the answer");
    (0..flat.len()).for_each(|length| assert!(!is_flat(&flat[..length]), "cut after {length}"));
    // What only seems to hold more than is there.
    let nulls = Variant::from(vec![1u8; 16]);
    let mut bytes = read(vec![DataValue::value_only(nulls)]);
    let at = bytes.windows(4).rposition(|four| four == 16i32.to_le_bytes()).expect("a length");
    for claimed in [i32::MAX, i32::MIN, 17, 15, -2] {
        bytes[at..at + 4].copy_from_slice(&claimed.to_le_bytes());
        assert!(!is_flat(&bytes), "{claimed}");
    }
    let long = read(vec![DataValue::value_only(Variant::from(vec![7u64; 1000])); BYTES_MAX / 8000 + 1]);
    assert!(!is_flat(&long));
}

/// What is called flat passes the trial: then nothing in it could have done harm.
#[test]
fn nothing_that_is_flat_would_fail_the_trial() {
    let mut random = fastrand::Rng::with_seed(11);
    let owned = context();
    let context = owned.context();
    let seeds: Vec<Vec<u8>> = flat_values()
        .into_iter()
        .flat_map(|value| [read(vec![value.clone(); 3]), publish(Some(vec![changes(vec![value; 3])]))])
        .collect();
    let (mut flat, mut changed) = (0, 0);
    for round in 0..60_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..6) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, random.u8(..)),
                2 => {
                    bytes[at] = random
                        .choice([0, 1, 2, 22, 23, 24, 25, 0x80, 0x81, 0x96, 0x98, 0xC1, 0xFF])
                        .unwrap_or(0)
                }
                3 => bytes[at] ^= 1 << random.u8(..8),
                4 => bytes.truncate(at.max(8)),
                _ => bytes[at] = random.u8(..),
            }
        }
        changed += 1;
        if is_flat(&bytes) {
            flat += 1;
            let trial = try_answer(&bytes, &context);
            assert!(
                trial.as_ref().is_ok_and(|memory| *memory <= bytes.len() * crate::wary::VALUE_BYTES),
                "{trial:?}: {bytes:?}"
            );
        }
    }
    println!("{flat} of {changed} changed answers are flat");
    assert!(flat > changed / 20 && flat < changed);
}
