//! Commands that read before they write, against writes of other sessions.

use super::*;

/// COMPARE AND WRITE of `blocks` blocks.
fn compare_and_write(lba: u8, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x89, lba, blocks);
    cdb
}

#[test]
fn of_two_that_compare_the_same_blocks_one_writes_and_the_other_finds_what_it_wrote() {
    let bench = Bench::new();
    let (mut first, mut second) = (bench.login(1), bench.login(2));
    let data = |new: u8| [vec![0; 4 * BLOCK], vec![new; 4 * BLOCK]].concat();
    let send = |peer: &mut Peer, new: u8| {
        let expected = u32::try_from(8 * BLOCK).unwrap();
        let frame = peer.command_frame(0, &compare_and_write(0, 4), 0xa1, expected).data(data(new));
        peer.send(&frame);
    };
    // The first has compared, and waits in the middle of its write.
    send(&mut first, 1);
    bench.disks[0].await_writes(1);
    send(&mut second, 2);
    stays_unanswered(&mut second);
    assert_eq!(bench.disks[0].passed(), 0);
    bench.disks[0].open();
    assert_eq!(first.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD);
    let refused = second.expect(opcode::SCSI_RESPONSE);
    assert_eq!(
        (refused.bhs[3], refused.data[2 + 2] & 0x0f, refused.data[2 + 12]),
        (CHECK_CONDITION, 0xe, 0x1d)
    );
    assert_eq!(bench.disks[0].passed(), 1, "nothing of the second was written");
    assert_eq!(bench.login(3).read_blocks(0, 0, 4, 512).data, vec![1; 4 * BLOCK]);
}

#[test]
fn a_plain_write_does_not_come_between_the_two_halves() {
    let bench = Bench::new();
    let (mut comparer, mut writer) = (bench.login(1), bench.login(2));
    let frame = comparer
        .command_frame(0, &compare_and_write(0, 2), 0xa1, u32::try_from(4 * BLOCK).unwrap())
        .data([vec![0; 2 * BLOCK], vec![1; 2 * BLOCK]].concat());
    comparer.send(&frame);
    bench.disks[0].await_writes(1);
    begin_write(&mut writer, 0, 1);
    stays_unanswered(&mut writer);
    // A write beside the range goes on; one within it has not reached the medium.
    begin_write(&mut writer, 0, 2);
    bench.disks[0].await_writes(2);
    stays_unanswered(&mut writer);
    bench.disks[0].open();
    assert_eq!(comparer.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD);
    for _ in 0..2 {
        assert_eq!(writer.expect(opcode::SCSI_RESPONSE).bhs[3], GOOD);
    }
    let read = bench.login(3).read_blocks(0, 0, 3, 512).data;
    assert_eq!((read[0], read[BLOCK], read[2 * BLOCK]), (1, 0xee, 0xee), "the plain write came after");
}

#[test]
fn counters_that_many_sessions_raise_lose_nothing() {
    let bench = Bench::new();
    bench.disks[0].open();
    let (rounds, sessions) = (20u32, 4u16);
    std::thread::scope(|scope| {
        for session in 1..=sessions {
            let mut peer = bench.login(session);
            scope.spawn(move || {
                for _ in 0..rounds {
                    loop {
                        let old = peer.read_blocks(0, 0, 2, 512).data;
                        let count = u32::from_be_bytes(old[..4].try_into().unwrap()) + 1;
                        let mut new = vec![0; 2 * BLOCK];
                        new[..4].copy_from_slice(&count.to_be_bytes());
                        new[2 * BLOCK - 4..].copy_from_slice(&count.to_be_bytes());
                        let answer = peer.command_out(0, &compare_and_write(0, 2), &[old, new].concat());
                        if answer.status == GOOD {
                            break;
                        }
                        assert_eq!(answer.sense_code(), Some((0xe, 0x1d, 0)));
                    }
                }
            });
        }
    });
    let read = bench.login(9).read_blocks(0, 0, 2, 512).data;
    let total = (rounds * u32::from(sessions)).to_be_bytes();
    assert_eq!((&read[..4], &read[2 * BLOCK - 4..]), (&total[..], &total[..]));
}

#[test]
fn sense_data_goes_out_in_the_format_that_mode_select_asked_for() {
    let bench = Bench::new();
    let mut peer = bench.login(1);
    let mut control = peer.command_in(0, &[0x1a, 8, 0x0a, 0, 0xff, 0], 0xff).data;
    (control[0], control[4], control[6]) = (0, 0x0a, control[6] | 0x04);
    assert_eq!(peer.command_out(0, &[0x15, 0x10, 0, 0, 16, 0], &control).status, GOOD);
    let refused = peer.read_blocks(0, u32::MAX - 1, 1, 512);
    assert_eq!((refused.sense[0], refused.sense[1], refused.sense[2]), (0x72, 5, 0x21));
    let other = peer.read_blocks(1, u32::MAX - 1, 1, 512);
    assert_eq!(
        (other.sense[0] & 0x7f, other.sense_code()),
        (0x70, Some((5, 0x21, 0))),
        "another unit has its own"
    );
}
