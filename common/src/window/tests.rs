//! The command window: order, holes, duplicates and the wrap of the numbers.

use proptest::prelude::*;

use super::*;

#[test]
fn commands_in_order_are_delivered_until_the_window_is_full() {
    let mut window = CommandWindow::new(CmdSn(10), 3);
    assert_eq!((window.exp_cmd_sn(), window.max_cmd_sn()), (CmdSn(10), CmdSn(12)));
    for sn in 10..13 {
        assert_eq!(window.arrive(CmdSn(sn), false), Arrival::Deliver);
    }
    assert_eq!(window.room(), 0);
    // RFC 7143 §4.2.2.1: a closed window has MaxCmdSN = ExpCmdSN - 1.
    assert_eq!((window.exp_cmd_sn(), window.max_cmd_sn()), (CmdSn(13), CmdSn(12)));
    assert_eq!(window.arrive(CmdSn(13), false), Arrival::OutOfWindow);
    window.reopen();
    assert_eq!(window.arrive(CmdSn(13), false), Arrival::Deliver);
}

#[test]
fn a_hole_holds_later_commands_back_until_it_is_filled() {
    let mut window = CommandWindow::new(CmdSn(0), 8);
    assert_eq!(window.arrive(CmdSn(2), false), Arrival::Future);
    assert_eq!(window.arrive(CmdSn(1), false), Arrival::Future);
    assert_eq!(window.arrive(CmdSn(4), false), Arrival::Future);
    assert_eq!(window.release(), None);
    assert_eq!(window.room(), 5);
    assert_eq!(window.arrive(CmdSn(0), false), Arrival::Deliver);
    assert_eq!(
        [window.release(), window.release(), window.release()],
        [Some(CmdSn(1)), Some(CmdSn(2)), None]
    );
    assert_eq!(window.exp_cmd_sn(), CmdSn(3));
    assert_eq!(window.arrive(CmdSn(3), false), Arrival::Deliver);
    assert_eq!(window.release(), Some(CmdSn(4)));
}

#[test]
fn a_command_that_came_before_is_a_duplicate_whether_delivered_or_held_back() {
    let mut window = CommandWindow::new(CmdSn(0), 8);
    assert_eq!(window.arrive(CmdSn(0), false), Arrival::Deliver);
    assert_eq!(window.arrive(CmdSn(0), false), Arrival::Duplicate);
    assert_eq!(window.arrive(CmdSn(3), false), Arrival::Future);
    assert_eq!(window.arrive(CmdSn(3), false), Arrival::Duplicate);
    assert_eq!(window.arrive(CmdSn(u32::MAX), false), Arrival::Duplicate);
}

#[test]
fn an_immediate_command_is_delivered_and_takes_no_number() {
    let mut window = CommandWindow::new(CmdSn(5), 1);
    assert_eq!(window.arrive(CmdSn(5), false), Arrival::Deliver);
    assert_eq!(window.arrive(CmdSn(6), true), Arrival::Deliver);
    assert_eq!(window.exp_cmd_sn(), CmdSn(6));
}

#[test]
fn the_window_works_across_the_wrap_of_the_numbers() {
    let mut window = CommandWindow::new(CmdSn(u32::MAX), 4);
    assert_eq!(window.max_cmd_sn(), CmdSn(2));
    assert_eq!(window.arrive(CmdSn(1), false), Arrival::Future);
    assert_eq!(window.arrive(CmdSn(3), false), Arrival::OutOfWindow);
    assert_eq!(window.arrive(CmdSn(u32::MAX), false), Arrival::Deliver);
    assert_eq!(window.arrive(CmdSn(0), false), Arrival::Deliver);
    assert_eq!(window.release(), Some(CmdSn(1)));
    assert_eq!(window.arrive(CmdSn(u32::MAX - 1), false), Arrival::Duplicate);
}

#[test]
fn a_number_half_the_space_away_is_in_no_window() {
    let mut window = CommandWindow::new(CmdSn(0), 1);
    assert_eq!(window.arrive(CmdSn(0x8000_0000), false), Arrival::OutOfWindow);
}

#[test]
fn reopening_never_makes_the_window_deeper() {
    let mut window = CommandWindow::new(CmdSn(0), 2);
    window.reopen();
    assert_eq!(window.max_cmd_sn(), CmdSn(1));
}

proptest! {
    /// Commands arrive in any order, some twice, and are finished at any time: each is delivered once and in order.
    #[test]
    fn every_command_is_delivered_once_and_in_order(
        start in any::<u32>(),
        depth in 1u32..20,
        arrivals in proptest::collection::vec((0u32..30, any::<bool>()), 0..300),
    ) {
        let mut window = CommandWindow::new(CmdSn(start), depth);
        let mut expected = CmdSn(start);
        let (mut delivered, mut finished) = (0u32, 0u32);
        for (offset, finish) in arrivals {
            let max_before = window.max_cmd_sn();
            let sn = window.exp_cmd_sn().plus(offset).plus(u32::MAX - 9);
            if window.arrive(sn, false) == Arrival::Deliver {
                prop_assert_eq!(sn, expected);
                expected = expected.next();
                delivered += 1;
                while let Some(sn) = window.release() {
                    prop_assert_eq!(sn, expected);
                    expected = expected.next();
                    delivered += 1;
                }
            }
            if finish && finished < delivered {
                window.reopen();
                finished += 1;
            }
            prop_assert!(window.max_cmd_sn() >= max_before, "MaxCmdSN went back");
            prop_assert!(delivered - finished <= depth, "more commands than the window takes");
        }
    }
}
