//! A medium that can be ejected and loaded (SBC-3 §4.4, §5.10, §5.25).

use super::*;

const EJECT: [u8; 6] = [0x1b, 0, 0, 0, 2, 0];
const LOAD: [u8; 6] = [0x1b, 0, 0, 0, 3, 0];
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];
const ALLOW: [u8; 6] = [0x1e, 0, 0, 0, 0, 0];

fn removable() -> Bench {
    let mut bench = Bench::with(|config| config.removable = true);
    bench.attach(2);
    bench
}

const fn absent() -> Sense {
    Sense::new(SenseKey::NotReady, Asc::MEDIUM_NOT_PRESENT)
}

#[test]
fn an_ejected_medium_is_not_present_until_it_is_loaded_and_then_the_others_are_told() {
    let mut bench = removable();
    good(bench.run(&EJECT));
    assert_eq!(bench.ops, [MediaOp::Flush]);
    for cdb in
        [&[0; 6][..], &read_cdb(Form::Ten, 0, 1), &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[0x1b, 0, 0, 0, 1, 0]]
    {
        assert_eq!(sense(bench.run(cdb)), absent(), "{cdb:02x?}");
    }
    assert_eq!(Sense::decode(&good(bench.run(&[0x03, 0, 0, 0, 0xff, 0]))), Some(absent()));
    good(bench.run(&[0x12, 0, 0, 0, 0xff, 0]));
    good(bench.run(&LOAD));
    good(bench.run(&[0; 6]));
    assert_eq!(bench.take_attentions(2), [Asc::MEDIUM_MAY_HAVE_CHANGED]);
}

#[test]
fn a_medium_whose_removal_any_nexus_prevents_stays() {
    let mut bench = removable();
    good(bench.run(&PREVENT));
    bench.nexus = NexusId(2);
    good(bench.run(&PREVENT));
    assert_eq!(sense(bench.run(&EJECT)), illegal(Asc::MEDIUM_REMOVAL_PREVENTED));
    good(bench.run(&ALLOW));
    assert_eq!(sense(bench.run(&EJECT)), illegal(Asc::MEDIUM_REMOVAL_PREVENTED), "the first still does");
    bench.unit.detach(NexusId(1));
    good(bench.run(&EJECT));
}

#[test]
fn no_medium_is_loaded_while_removal_is_prevented() {
    let mut bench = removable();
    good(bench.run(&EJECT));
    bench.nexus = NexusId(2);
    good(bench.run(&PREVENT));
    bench.nexus = NexusId(1);
    assert_eq!(sense(bench.run(&LOAD)), illegal(Asc::MEDIUM_REMOVAL_PREVENTED));
    assert_eq!(sense(bench.run(&[0; 6])), absent());
    bench.unit.detach(NexusId(2));
    good(bench.run(&LOAD));
    bench.nexus = NexusId(1);
    good(bench.run(&PREVENT));
    good(bench.run(&LOAD));
}

#[test]
fn a_reset_allows_removal_again() {
    for kind in [Reset::LogicalUnit, Reset::TargetWarm, Reset::TargetCold] {
        let mut bench = removable();
        good(bench.run(&PREVENT));
        bench.unit.reset(kind, NexusId(1));
        bench.take_attentions(1);
        good(bench.run(&EJECT));
    }
}

#[test]
fn a_medium_that_is_not_removable_is_neither_ejected_nor_prevented() {
    let mut bench = Bench::new();
    assert_eq!(sense(bench.run(&EJECT)), Sense::invalid_field_in_cdb(4, Some(1)));
    assert_eq!(sense(bench.run(&PREVENT)), illegal(Asc::INVALID_OPERATION_CODE));
    assert_eq!(good(bench.run(&[0x12, 0, 0, 0, 0xff, 0]))[1], 0, "RMB");
    assert_eq!(good(removable().run(&[0x12, 0, 0, 0, 0xff, 0]))[1], 0x80);
}
