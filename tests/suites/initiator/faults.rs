//! Targets that misbehave: each ends in a clear error within its time, never in a hang or a panic.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use lunkeep_tests::process::Outcome;
use lunkeep_tests::programs;
use lunkeep_tests::target::Folder;

use super::bench::run_with_state;

const TARGET: &str = "iqn.2024-01.invalid.lunkeep:faulty";

/// A portal that gives every connection to `serve`, with the first PDU of the initiator read.
fn portal(serve: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if read_pdu(&mut stream).is_some() {
                serve(stream);
            }
        }
    });
    address
}

fn read_pdu(stream: &mut TcpStream) -> Option<[u8; 48]> {
    let mut bhs = [0; 48];
    stream.read_exact(&mut bhs).ok()?;
    let len = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]);
    let mut data = vec![0; (len as usize).next_multiple_of(4)];
    stream.read_exact(&mut data).ok()?;
    Some(bhs)
}

fn info(portal: SocketAddr) -> Outcome {
    let url = format!("iscsi://{portal}/{TARGET}/0");
    run_with_state(programs!(), &Folder::new(), &["info", &url, "--timeout", "2"])
}

#[track_caller]
fn fails(portal: SocketAddr, code: i32, culprit: &str) {
    let outcome = info(portal);
    assert_eq!(outcome.code(), Some(code), "{outcome}");
    assert!(outcome.stderr.contains(culprit), "{culprit:?} is not in {outcome}");
    assert!(outcome.stderr.contains(&portal.to_string()), "the portal is not in {outcome}");
}

#[test]
fn a_portal_that_says_nothing_is_given_up_in_time() {
    fails(portal(hold), 3, "finish the login within 2.0 s");
}

#[test]
fn a_portal_that_hangs_up_is_named() {
    fails(portal(drop), 6, "closed the connection");
}

#[test]
fn a_portal_that_speaks_another_protocol_is_named() {
    fails(
        portal(|mut stream| {
            drop(
                stream
                    .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            );
            hold(stream);
        }),
        6,
        "cannot be read",
    );
}

#[test]
fn a_login_response_with_a_huge_data_segment_is_refused_on_its_header() {
    fails(
        portal(|mut stream| {
            let mut bhs = [0; 48];
            (bhs[0], bhs[1]) = (0x23, 0x87);
            bhs[5..8].fill(0xff);
            drop(stream.write_all(&bhs));
            hold(stream);
        }),
        6,
        "DataSegmentLength 16777215",
    );
}

#[test]
fn an_undefined_login_status_is_named() {
    fails(
        portal(|mut stream| {
            let mut bhs = [0; 48];
            bhs[0] = 0x23;
            bhs[36..38].copy_from_slice(&[0x02, 0xee]);
            drop(stream.write_all(&bhs));
            hold(stream);
        }),
        6,
        "0x2ee",
    );
}

#[test]
fn portals_that_redirect_to_themselves_are_not_followed_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(request) = read_pdu(&mut stream) else { continue };
            let text = format!("TargetAddress={address}\0");
            let mut bhs = [0; 48];
            bhs[0] = 0x23;
            bhs[7] = u8::try_from(text.len()).unwrap();
            bhs[8..20].copy_from_slice(&request[8..20]);
            bhs[36..38].copy_from_slice(&[0x01, 0x01]);
            let mut pdu = bhs.to_vec();
            pdu.extend(text.as_bytes());
            pdu.resize(pdu.len().next_multiple_of(4), 0);
            drop(stream.write_all(&pdu));
        }
    });
    fails(address, 4, "redirected more than 4 times");
}

/// Keeps a connection open until the initiator closes it.
fn hold(mut stream: TcpStream) {
    drop(stream.read_to_end(&mut Vec::new()));
}
