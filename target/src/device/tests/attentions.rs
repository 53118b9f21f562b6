//! Unit attentions as commands meet them (SAM-5 §5.14).

use super::*;

const REQUEST_SENSE: [u8; 6] = [0x03, 0, 0, 0, 0xff, 0];

#[test]
fn a_new_nexus_is_told_of_the_power_on_once() {
    let mut bench = Bench::new();
    bench.unit.attach(NexusId(2), nexus(2));
    assert_eq!(bench.take_attentions(2), [Asc::POWER_ON_RESET]);
    assert_eq!(bench.take_attentions(2), []);
}

#[test]
fn inquiry_and_report_luns_pass_and_leave_it_pending() {
    let mut bench = Bench::new();
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
    good(bench.run(&[0x12, 0, 0, 0, 0xff, 0]));
    good(bench.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]));
    assert_eq!(sense(bench.run(&[0x12, 0, 1, 0, 0xff, 0])).asc, Asc::INVALID_FIELD_IN_CDB);
    assert_eq!(bench.take_attentions(1), [Asc::CAPACITY_DATA_CHANGED]);
}

#[test]
fn request_sense_reports_and_clears_it() {
    let mut bench = Bench::new();
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
    let data = good(bench.run(&REQUEST_SENSE));
    assert_eq!(Sense::decode(&data), Some(Sense::unit_attention(Asc::CAPACITY_DATA_CHANGED)));
    let data = good(bench.run(&REQUEST_SENSE));
    assert_eq!(Sense::decode(&data).unwrap().key, SenseKey::NoSense);
}

#[test]
fn a_malformed_request_sense_does_not_lose_it() {
    let mut bench = Bench::new();
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
    assert_eq!(sense(bench.run(&[0x03, 2, 0, 0, 0xff, 0])).asc, Asc::INVALID_FIELD_IN_CDB);
    assert_eq!(bench.take_attentions(1), [Asc::CAPACITY_DATA_CHANGED]);
}

#[test]
fn report_luns_clears_only_the_condition_that_asks_for_it() {
    let mut bench = Bench::new();
    bench.unit.establish_unit_attention(Asc::REPORTED_LUNS_CHANGED, None);
    bench.unit.establish_unit_attention(Asc::MODE_PARAMETERS_CHANGED, None);
    good(bench.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0]));
    assert_eq!(bench.take_attentions(1), [Asc::MODE_PARAMETERS_CHANGED]);
}

#[test]
fn it_comes_before_any_fault_of_the_cdb() {
    let mut bench = Bench::new();
    for cdb in [[0xee; 16], read_cdb(Form::Ten, u32::MAX.into(), 1)] {
        bench.unit.establish_unit_attention(Asc::MODE_PARAMETERS_CHANGED, None);
        assert_eq!(sense(bench.run(&cdb)), Sense::unit_attention(Asc::MODE_PARAMETERS_CHANGED));
        assert_ne!(sense(bench.run(&cdb)).key, SenseKey::UnitAttention);
    }
}

#[test]
fn the_nexus_that_caused_it_is_left_out() {
    let mut bench = Bench::new();
    bench.attach(2);
    bench.unit.establish_unit_attention(Asc::MODE_PARAMETERS_CHANGED, Some(NexusId(1)));
    assert_eq!(bench.take_attentions(1), []);
    assert_eq!(bench.take_attentions(2), [Asc::MODE_PARAMETERS_CHANGED]);
}

#[test]
fn a_nexus_that_returns_under_another_number_is_told_what_it_missed() {
    let mut bench = Bench::new();
    bench.attach(2);
    bench.unit.detach(NexusId(2));
    bench.unit.establish_unit_attention(Asc::CAPACITY_DATA_CHANGED, None);
    bench.unit.attach(NexusId(9), nexus(2));
    assert_eq!(bench.take_attentions(9), [Asc::NEXUS_LOSS, Asc::CAPACITY_DATA_CHANGED]);
}

#[test]
fn resets_are_told_to_everyone() {
    for (kind, asc) in [
        (Reset::LogicalUnit, Asc::BUS_DEVICE_RESET),
        (Reset::TargetWarm, Asc::SCSI_BUS_RESET),
        (Reset::TargetCold, Asc::POWER_ON_RESET),
    ] {
        let mut bench = Bench::new();
        bench.attach(2);
        bench.unit.reset(kind, NexusId(1));
        assert_eq!((bench.take_attentions(1), bench.take_attentions(2)), (vec![asc], vec![asc]));
    }
}
