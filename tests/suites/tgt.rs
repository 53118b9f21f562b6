//! Debian's tgt as the other end: our initiator against a foreign target. The scripted peer of the harness is tried on it too,
//! so that what the robustness suite says with it is known to be iSCSI.

use lunkeep_tests::content::sparse_disk;
use lunkeep_tests::foreign;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::target::Folder;
use lunkeep_tests::tgt::{self, Tgt};
use lunkeep_tests::wire::Peer;

const SIZE: u64 = 16 << 20;

/// A tgt that serves a sparse disk, unless tgt is missing.
fn serve(folder: &Folder) -> Option<Tgt> {
    if !foreign::available(&["tgtd", "tgtadm"]) {
        return None;
    }
    let disk = folder.file("disk.raw");
    sparse_disk(&disk, SIZE, &mut Random::new(seed(&test_name())));
    Some(Tgt::serve(folder.path(), &disk))
}

#[test]
fn the_scripted_peer_logs_in_reads_and_writes_with_and_without_digests() {
    let folder = Folder::new();
    let Some(mut tgt) = serve(&folder) else { return };
    tgt.allow_digests();
    let lun = u8::try_from(tgt::LUN).unwrap();
    let crc = [("HeaderDigest", "CRC32C"), ("DataDigest", "CRC32C")];
    for keys in [&[][..], &crc[..1], &crc[..]] {
        let mut peer = Peer::login_with(tgt.portal(), tgt::IQN, 1, keys).unwrap();
        assert!(peer.is_ready(lun));
        let written: Vec<u8> = (0..64 * 512_u32).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
        assert_eq!(peer.write_blocks(lun, 128, &written, 512).status, 0);
        assert_eq!(peer.read_blocks(lun, 128, 64, 512).data, written);
        let beyond = peer.read_blocks(lun, u32::MAX, 1, 512);
        assert_eq!((beyond.status, beyond.sense_code()), (2, Some((5, 0x21, 0))));
        peer.ping();
        peer.logout();
    }
    assert!(tgt.is_alive());
    let on_disk = std::fs::read(folder.file("disk.raw")).unwrap();
    assert_eq!(on_disk[128 * 512], 0x5a);
}
