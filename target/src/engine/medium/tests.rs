//! An exchange has the disk alone; operations wait for it and run on one disk.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::engine::HostEnvironment;
use crate::image::{Access, Environment, Format, MemoryFile};

const PATIENCE: Duration = Duration::from_secs(30);

fn disk(len: u64) -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    Format::Raw.open(Arc::new(MemoryFile::with_len(len)), Access::ReadWrite, &env).unwrap()
}

fn first_byte(medium: &Medium) -> u8 {
    let mut byte = [0; 512];
    medium.read_at(&mut byte, 0).unwrap();
    byte[0]
}

#[test]
fn an_exchange_has_the_old_disk_alone_and_its_shape_gives_way_to_that_of_the_new_one() {
    let medium = Medium::new(disk(1 << 20));
    medium.write_at(&[IoSlice::new(&[1; 512])], 0).unwrap();
    let kept = medium.exchange(PATIENCE, |old| {
        assert_eq!(Arc::strong_count(&old), 1, "nobody else has it");
        (Some(disk(2 << 20)), Ok::<_, ()>(7))
    });
    assert_eq!(kept.unwrap(), 7);
    assert_eq!((medium.geometry().size, first_byte(&medium)), (2 << 20, 0));
}

#[test]
fn operations_that_come_during_an_exchange_wait_and_run_on_the_new_disk() {
    let medium = Medium::new(disk(1 << 20));
    let (begun, may_end) = (mpsc::channel(), mpsc::channel::<()>());
    thread::scope(|scope| {
        let (medium, begun, may_end) = (&medium, begun, may_end);
        let exchange = scope.spawn(move || {
            medium.exchange(PATIENCE, |_| {
                begun.0.send(()).unwrap();
                may_end.1.recv().unwrap();
                let new = disk(1 << 20);
                new.write_at(&[IoSlice::new(&[9; 512])], 0).unwrap();
                (Some(new), Ok::<_, ()>(()))
            })
        });
        begun.1.recv().unwrap();
        assert!(!medium.read_cached_at(&mut [0; 512], 0).unwrap(), "it would have to wait");
        let reader = scope.spawn(move || first_byte(medium));
        may_end.0.send(()).unwrap();
        exchange.join().unwrap().unwrap();
        assert_eq!(reader.join().unwrap(), 9);
    });
}

#[test]
fn an_exchange_gives_up_on_operations_that_do_not_end_and_leaves_all_as_it_was() {
    let medium = Medium::new(disk(1 << 20));
    let stalled = medium.enter();
    let refused = medium.exchange(Duration::from_millis(20), |old| (Some(old), Ok::<_, ()>(())));
    assert!(matches!(refused, Err(ExchangeError::Busy(_))));
    assert_eq!(first_byte(&medium), 0);
    drop(stalled);
    medium.exchange(PATIENCE, |old| (Some(old), Ok::<_, ()>(()))).unwrap();
}

#[test]
fn a_failed_exchange_serves_what_it_gives_back() {
    let medium = Medium::new(disk(1 << 20));
    let failed = medium.exchange(PATIENCE, |old| (Some(old), Err::<(), _>("no")));
    assert!(matches!(failed, Err(ExchangeError::Work("no"))));
    assert_eq!(first_byte(&medium), 0);
}

#[test]
fn a_closed_medium_has_let_go_of_its_disk_and_keeps_its_shape() {
    let inner = disk(1 << 20);
    let medium = Medium::new(Arc::clone(&inner));
    medium.close().unwrap();
    assert_eq!(Arc::strong_count(&inner), 1);
    assert!(medium.read_at(&mut [0; 512], 0).is_err() && medium.flush().is_err());
    assert_eq!(medium.geometry().size, 1 << 20);
    medium.close().unwrap();
}
