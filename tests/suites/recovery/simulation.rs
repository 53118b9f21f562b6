//! Every command ends exactly once, with the right data, whatever the network does that its recovery level covers.

use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report;

use super::world::{Plan, Sabotage, World};

const PLAN: Plan =
    Plan { level: 2, connections: 1, commands: 60, losses: 0, cuts: 0, wait: 0, sabotage: Sabotage::None };

/// Runs of one plan: a share, or with `--full` some ten thousand over all plans.
fn runs() -> u64 {
    if report::full() { 1000 } else { 25 }
}

/// Plays `plan` with many seeds; each failure names its own.
fn play(name: &str, plan: Plan) {
    let mut seeds = Random::new(seed(name));
    let (mut faults, mut cuts) = (0, 0);
    for number in 0..runs() {
        let seed = seeds.next_u64();
        match World::new(plan, seed).run() {
            Ok(world) => {
                assert_eq!(world.completed, plan.commands);
                faults += world.faults;
                cuts += world.cuts;
            }
            Err(error) => panic!("run {number} of {plan:?} with seed {seed}: {error}"),
        }
    }
    assert!(plan.losses == 0 || faults > 0, "nothing was lost: the test shows nothing");
    assert!(plan.cuts == 0 || cuts > 0, "nothing was cut: the test shows nothing");
}

#[test]
fn commands_over_a_sound_network_end_once_at_every_level_on_one_connection_and_on_four() {
    for level in 0..=2 {
        for connections in [1, 4] {
            play("sound", Plan { level, connections, ..PLAN });
        }
    }
}

#[test]
fn level_one_rides_out_damaged_and_lost_pdus() {
    for losses in [100, 20, 8] {
        play("lossy", Plan { level: 1, losses, ..PLAN });
    }
}

#[test]
fn level_one_rides_out_damaged_and_lost_pdus_on_several_connections() {
    for connections in [2, 4] {
        play("lossy connections", Plan { level: 1, connections, losses: 15, ..PLAN });
    }
}

#[test]
fn level_two_takes_the_tasks_of_a_cut_connection_to_the_next() {
    for connections in [1, 2, 4] {
        play("cut", Plan { connections, cuts: 40, ..PLAN });
    }
}

#[test]
fn level_two_takes_tasks_along_only_after_time2wait() {
    for connections in [1, 2] {
        play("cut and wait", Plan { connections, cuts: 40, wait: 2, ..PLAN });
    }
}

#[test]
fn level_two_rides_out_losses_and_cuts_together() {
    for connections in [1, 3] {
        play("lossy and cut", Plan { connections, losses: 20, cuts: 60, ..PLAN });
    }
}

/// Controls: with one safeguard kept from working, runs of the same plan must fail.
#[test]
fn without_any_one_safeguard_the_simulation_goes_red() {
    for (sabotage, plan) in [
        (Sabotage::Snacks, Plan { level: 1, losses: 15, ..PLAN }),
        (Sabotage::RecoveryR2ts, Plan { level: 1, losses: 15, ..PLAN }),
        (Sabotage::Retries, Plan { level: 1, losses: 15, ..PLAN }),
        (Sabotage::Reassigns, Plan { cuts: 40, ..PLAN }),
    ] {
        let plan = Plan { sabotage, ..plan };
        let noticed = (1..=5).any(|seed| World::new(plan, seed).run().is_err());
        assert!(noticed, "{plan:?} is not noticed");
    }
}

/// Seeds that once failed, each by its plan.
#[test]
fn seeds_that_once_failed_do_not_any_more() {
    let cut = Plan { connections: 2, cuts: 40, ..PLAN };
    let both = Plan { losses: 20, cuts: 60, ..PLAN };
    let sound = Plan { level: 0, connections: 4, ..PLAN };
    for (plan, seed) in [
        (sound, 4_427_239_450_548_547_201),
        (cut, 3_790_433_215_055_998_520),
        (cut, 346_803_572_939_817_830),
        (cut, 8_458_050_719_800_704_013),
        (both, 7_290_047_914_208_253_027),
        (Plan { connections: 1, ..cut }, 17_843_624_343_929_524_956),
        (Plan { connections: 1, ..cut }, 12_383_070_079_281_763_684),
        (Plan { connections: 1, ..cut }, 17_405_003_201_314_778_192),
        (both, 4_355_536_641_021_213_551),
    ] {
        if let Err(error) = World::new(plan, seed).run() {
            panic!("{plan:?} with seed {seed}: {error}");
        }
    }
}
