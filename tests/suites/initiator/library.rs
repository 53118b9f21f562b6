//! The library: many tasks on one session, identities, and the end of sessions.

use bytes::Bytes;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_initiator::engine::{Error, LostCause};
use lunkeep_initiator::session::SessionError;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use tokio::runtime::Runtime;

use super::bench::{Bench, Demand, SIZE, Served, with_each_target};

#[test]
fn many_tasks_use_one_session_at_once() {
    const TASKS: u64 = 24;
    let runtime = Runtime::new().unwrap();
    with_each_target(Demand::Nothing, |bench| {
        runtime.block_on(async {
            let (_slot, session) = bench.login().await;
            let lun = session.lun(bench.lun());
            lun.ready().await.unwrap();
            let seed = seed(&test_name());
            let tasks: Vec<_> = (0..TASKS)
                .map(|task| {
                    let lun = lun.clone();
                    tokio::spawn(async move {
                        let mut random = Random::new(seed ^ task);
                        // Each task has blocks of its own.
                        let (first, room) = (task * (SIZE / 512 / TASKS), SIZE / 512 / TASKS);
                        for _ in 0..8 {
                            let blocks = 1 + random.below(room);
                            let lba = first + random.below(room - blocks + 1);
                            let mut data = vec![0; usize::try_from(blocks * 512).unwrap()];
                            random.fill(&mut data);
                            lun.write(lba, Bytes::from(data.clone()), 512).await.unwrap();
                            let read = lun.read(lba, u32::try_from(blocks).unwrap(), 512).await.unwrap();
                            assert!(read == data, "{blocks} blocks at {lba}");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            lun.flush().await.unwrap();
            drop(lun);
            session.logout().await.unwrap();
        });
    });
}

#[test]
fn a_port_is_the_same_after_a_restart_and_another_for_a_second_process() {
    let runtime = Runtime::new().unwrap();
    let bench = Bench::ours(Demand::Nothing);
    let info = |bench: &Bench| -> serde_json::Value {
        serde_json::from_str(&bench.run(&["info", &bench.url, "--json"]).expect_success()).unwrap()
    };
    let first = info(&bench)["session"].clone();
    let again = info(&bench)["session"].clone();
    assert_eq!((&first["isid"], &first["initiator"]), (&again["isid"], &again["initiator"]));
    runtime.block_on(async {
        let (slot, session) = bench.login().await;
        assert_eq!(first["isid"], slot.identity().isid.to_string());
        let other = info(&bench)["session"].clone();
        assert_eq!((&other["initiator"], &other["slot"]), (&first["initiator"], &1.into()));
        assert_ne!(other["isid"], first["isid"]);
        session.lun(bench.lun()).ready().await.expect("the other process did not throw this session out");
        let taken = bench.run(&["info", &bench.url, "--slot", "0"]);
        assert!(taken.code() == Some(1) && taken.stderr.contains("slot 0"), "{taken}");
    });
}

#[test]
fn a_session_of_the_same_port_replaces_the_old_one_which_ends_cleanly() {
    let runtime = Runtime::new().unwrap();
    let bench = Bench::ours(Demand::Nothing);
    runtime.block_on(async {
        let (_slot, initiator) = bench.initiator();
        let old = initiator.login(&bench.address(), &bench.target_name()).await.unwrap();
        let new = initiator.login(&bench.address(), &bench.target_name()).await.unwrap();
        assert!(matches!(old.ended().await, Error::Lost { .. }));
        assert!(matches!(old.lun(bench.lun()).ready().await, Err(Error::Lost { .. })));
        new.lun(bench.lun()).ready().await.unwrap();
    });
}

#[test]
fn a_reset_of_the_unit_is_answered() {
    let runtime = Runtime::new().unwrap();
    with_each_target(Demand::Nothing, |bench| {
        runtime.block_on(async {
            let (_slot, session) = bench.login().await;
            let function = TaskManagementFunction::LogicalUnitReset;
            let result = session.manage(function, bench.lun()).await.unwrap();
            assert_eq!(result, TaskManagementResult::FunctionComplete);
            session.lun(bench.lun()).ready().await.unwrap();
        });
    });
}

#[test]
fn a_logout_is_the_end_of_all_handles() {
    let runtime = Runtime::new().unwrap();
    with_each_target(Demand::Nothing, |bench| {
        runtime.block_on(async {
            let (_slot, session) = bench.login().await;
            let lun = session.lun(bench.lun());
            session.logout().await.unwrap();
            let Err(Error::Lost { cause: LostCause::Session(end), .. }) = lun.ready().await else {
                panic!("a command after the logout")
            };
            assert_eq!(end, SessionError::LoggedOut);
        });
    });
}

#[test]
fn commands_under_way_end_with_an_error_when_the_target_is_killed() {
    let runtime = Runtime::new().unwrap();
    let bench = Bench::ours(Demand::Nothing);
    runtime.block_on(async {
        let (_slot, session) = bench.login().await;
        let lun = session.lun(bench.lun());
        lun.ready().await.unwrap();
        let reader = tokio::spawn(async move {
            loop {
                lun.read(0, 2048, 512).await?;
            }
            #[expect(unreachable_code, reason = "it gives the block its type")]
            Ok::<(), Error>(())
        });
        let Served::Ours(target) = bench.served else { unreachable!("it is ours") };
        target.kill();
        let error = reader.await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(error.to_string().contains(&bench.portal.to_string()), "{error}");
        assert!(matches!(session.ended().await, Error::Lost { .. }));
    });
}
