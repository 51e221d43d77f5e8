//! The profile library: every built-in profile on our own simulator.

use forebay_hil::library::{self, Caught, Proof};
use forebay_hil::root;

/// What the checks of a profile cannot find out, and why. Everything else they must.
const CANNOT: &[(&str, &str, &str)] = &[(
    "moxa-iologik-e1210",
    "CDAB",
    "its counters alone have two registers, and a counter may have any value",
)];

#[tokio::test(flavor = "multi_thread")]
async fn every_built_in_profile_gives_its_values_back_and_its_checks_find_mistakes() {
    let proofs = library::prove_all().await.unwrap_or_else(|trouble| panic!("{trouble}"));
    let real: Vec<&Proof> = proofs.iter().filter(|proof| !proof.checked.is_empty()).collect();
    assert!(real.len() >= 15, "only {} devices", real.len());
    let mut missed = Vec::new();
    for proof in &proofs {
        let orders = proof.orders.iter().copied();
        let shifts = proof.shifts.iter().flat_map(|shifts| [("too high", shifts[0]), ("too low", shifts[1])]);
        let not_found = orders.chain(shifts).filter(|(_, caught)| *caught == Caught::No);
        missed.extend(not_found.map(|(mistake, _)| (proof.name.as_str(), mistake)));
        assert!(!proof.source.is_empty() && proof.tags > 0, "{}", proof.name);
        // OPC UA has no byte order, and its addresses cannot be counted.
        let expected = (proof.protocol == "modbus", proof.protocol != "opcua");
        assert_eq!((!proof.orders.is_empty(), proof.shifts.is_some()), expected, "{}", proof.name);
    }
    let cannot: Vec<(&str, &str)> = CANNOT.iter().map(|(profile, mistake, _)| (*profile, *mistake)).collect();
    assert_eq!(missed, cannot, "not found by the checks, and what is known not to be");
    let kept = std::fs::read_to_string(root().join("docs/profile-library.md")).expect("the list is kept");
    assert_eq!(
        kept,
        library::document(&proofs),
        "run `cargo run -p forebay-hil -- --library docs/profile-library.md`"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_whose_checks_do_not_hold_is_told() {
    let (file, text) = forebay::profile::BUILTIN[2];
    let wrong = text.replace("between = [80, 300]", "between = [80, 81]");
    assert_ne!(text, wrong);
    // A value for the check is chosen within its bounds, and is then outside of its range.
    let wrong =
        wrong.replace("range = [0, 500] }      # wire 0x0000", "range = [100, 500] }    # wire 0x0000");
    let said = library::prove(file, &wrong).await.unwrap_err().to_string();
    assert!(said.contains("voltage.l1") && said.contains("is not within 100 and 500"), "{said}");
}
