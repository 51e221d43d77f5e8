use forebay_connector::{ByteOrder, DataType, Scalar};

use super::*;
use crate::address;

fn connector() -> ModbusConnector {
    let device = DeviceSpec {
        name: "double".into(),
        endpoint: "tcp://127.0.0.1:1".into(),
        options: BTreeMap::new(),
        scans: Vec::new(),
        tags: [].into(),
        trust: None,
        allow_insecure: false,
        secrets: Arc::new(NoSecrets),
        state_directory: "unused".into(),
    };
    let item = |(offset, scan): (u16, usize)| {
        let data_type = DataType::single(Scalar::Word);
        let (place, count) = address::check(&format!("hr:{offset}"), data_type).unwrap();
        Item { place, count, data_type, order: ByteOrder::Abcd, scan }
    };
    let items = [(0, 0), (1, 1), (2, 0)].map(item).into();
    ModbusConnector { items, ..ModbusConnector::open(&device).unwrap() }
}

struct NoSecrets;

impl forebay_connector::Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("no secret {name} here"))
    }
}

#[test]
fn a_plan_is_made_once_for_each_set_of_scan_classes() {
    let mut connector = connector();
    for (due, tags) in [(&[0][..], &[0, 2][..]), (&[1], &[1]), (&[0, 1], &[0, 1, 2]), (&[7], &[])] {
        let kept = connector.take_plan(due);
        assert_eq!((&kept.due[..], &kept.plan.tags[..]), (due, tags));
        connector.plans.push(kept);
    }
    let before = connector.plans[0].plan.tags.as_ptr();
    assert_eq!(connector.take_plan(&[0]).plan.tags.as_ptr(), before, "the same plan, not a new one");
}

#[test]
fn a_refused_register_is_asked_for_again_after_a_while() {
    let mut connector = connector();
    for (age, refused) in [(REFUSAL_REMEMBERED / 2, true), (REFUSAL_REMEMBERED, false)] {
        let mut kept = connector.take_plan(&[1]);
        kept.plan.split(&connector.items, 0);
        kept.refused_since = Some(Instant::now().checked_sub(age).unwrap());
        connector.plans.push(kept);
        assert_eq!(connector.take_plan(&[1]).plan.blocks[0].refused, refused, "{age:?}");
    }
}

#[test]
fn the_number_of_plans_is_bounded() {
    let mut connector = connector();
    for scan in 0..10 * MAX_PLANS {
        let kept = connector.take_plan(&[scan]);
        connector.plans.push(kept);
        assert!(connector.plans.len() <= MAX_PLANS);
    }
}
