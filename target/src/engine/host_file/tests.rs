//! What a file of the host does, and that nobody else gets at it.

use std::process::Command;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn read(file: &HostFile, offset: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0xee; len];
    file.read_exact_at(&mut buf, offset).unwrap();
    buf
}

#[test]
fn more_buffers_than_the_kernel_takes_at_once_are_written_in_order() {
    let folder = folder();
    let file = HostFile::create_new(&folder.path().join("f")).unwrap();
    let bytes: Vec<u8> = (0..5000u32).map(|i| i.to_le_bytes()[0]).collect();
    let bufs: Vec<IoSlice<'_>> = bytes.chunks(2).flat_map(|b| [IoSlice::new(&[]), IoSlice::new(b)]).collect();
    assert!(bufs.len() > MAX_BUFFERS);
    file.write_all_vectored_at(&bufs, 3).unwrap();
    assert_eq!(read(&file, 3, bytes.len()), bytes);
    assert_eq!(file.len().unwrap(), 5003);
}

#[test]
fn zeroing_and_punching_change_only_their_range_and_keep_the_length() {
    let folder = folder();
    for emulate in [false, true] {
        let file = HostFile::create_new(&folder.path().join(format!("f{emulate}"))).unwrap();
        file.cannot_punch.store(emulate, Ordering::Relaxed);
        file.cannot_zero.store(emulate, Ordering::Relaxed);
        file.write_all_at(&vec![7; 300_000], 0).unwrap();
        file.zero_range(10..100_000).unwrap();
        file.punch_hole(200_000..300_000).unwrap();
        let content = read(&file, 0, 300_000);
        for (i, byte) in content.iter().enumerate() {
            let zero = (10..100_000).contains(&i) || i >= 200_000;
            assert_eq!(*byte == 0, zero, "byte {i}");
        }
        assert_eq!(file.len().unwrap(), 300_000);
    }
}

#[test]
fn holes_are_skipped_and_the_last_hole_is_the_end() {
    let folder = folder();
    let file = HostFile::create_new(&folder.path().join("f")).unwrap();
    file.set_len(8 << 20).unwrap();
    assert_eq!(file.next_data(0).unwrap(), None);
    file.write_all_at(&[1; 4096], 4 << 20).unwrap();
    let data = file.next_data(0).unwrap().unwrap();
    assert!(data.contains(&(4 << 20)) && data.start > 0, "{data:?}");
    assert_eq!(file.next_data(data.end).unwrap(), None);
    assert_eq!(file.next_data(8 << 20).unwrap(), None);
}

#[test]
fn a_cached_read_gives_the_same_bytes_or_says_that_it_would_wait() {
    let folder = folder();
    let file = HostFile::create_new(&folder.path().join("f")).unwrap();
    file.write_all_at(&[9; 8192], 0).unwrap();
    let mut buf = [0; 4096];
    if file.read_cached_at(&mut buf, 4096).unwrap() {
        assert_eq!(buf, [9; 4096]);
    }
    assert!(!file.read_cached_at(&mut buf, 8000).unwrap(), "past the end is for the blocking read to tell");
    assert_eq!(file.read_exact_at(&mut buf, 8000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn one_writer_or_many_readers_have_a_file() {
    let folder = folder();
    let path = folder.path().join("shared.vhd");
    drop(HostFile::create_new(&path).unwrap());
    let reader = HostFile::open(&path, Access::ReadOnly).unwrap();
    let second = HostFile::open(&path, Access::ReadOnly).unwrap();
    let refused = HostFile::open(&path, Access::ReadWrite).unwrap_err().to_string();
    let me = format!("this process ({}) itself has it open", std::process::id());
    assert!(refused.contains("shared.vhd") && refused.contains(&me), "{refused}");
    drop((reader, second));
    let writer = HostFile::open(&path, Access::ReadWrite).unwrap();
    assert!(matches!(HostFile::open(&path, Access::ReadOnly), Err(HostFileError::InUse { .. })));
    assert!(matches!(HostFile::open(&path, Access::ReadWrite), Err(HostFileError::InUse { .. })));
    drop(writer);
    HostFile::open(&path, Access::ReadOnly).unwrap();
}

#[test]
fn qemu_is_kept_out_of_a_file_that_is_written() {
    if Command::new("qemu-io").arg("--version").output().is_err() {
        println!("skipped: qemu-io is not installed");
        return;
    }
    let folder = folder();
    let path = folder.path().join("f.raw");
    let file = HostFile::create_new(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    let write =
        || Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 512"]).arg(&path).output().unwrap();
    let output = write();
    assert!(!output.status.success(), "QEMU wrote into a file that is locked");
    assert!(String::from_utf8_lossy(&output.stderr).contains("lock"), "{output:?}");
    drop(file);
    assert!(write().status.success());
}

#[test]
fn the_error_about_a_locked_file_names_the_process_that_has_it() {
    let folder = folder();
    let path = folder.path().join("f.raw");
    drop(HostFile::create_new(&path).unwrap());
    let mut other = Command::new("flock")
        .args(["--exclusive", "--no-fork"])
        .arg(&path)
        .args(["sh", "-c", "echo locked; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(other.stdout.take().unwrap()), &mut line).unwrap();
    let refused = HostFile::open(&path, Access::ReadOnly).unwrap_err().to_string();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(line, "locked\n");
    let holder = format!("sleep (process {})", other.id());
    assert!(
        refused.contains(&holder) || refused.contains(&format!("sh (process {})", other.id())),
        "{refused}"
    );
}

#[test]
fn a_qemu_that_has_the_file_is_named() {
    if Command::new("qemu-io").arg("--version").output().is_err() {
        println!("skipped: qemu-io is not installed");
        return;
    }
    let folder = folder();
    let path = folder.path().join("f.raw");
    HostFile::create_new(&path).unwrap().set_len(1 << 20).unwrap();
    let mut qemu = Command::new("qemu-io")
        .args(["-f", "raw"])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut commands, mut answers) =
        (qemu.stdin.take().unwrap(), io::BufReader::new(qemu.stdout.take().unwrap()));
    io::Write::write_all(&mut commands, b"length\n").unwrap();
    let mut answer = String::new();
    io::BufRead::read_line(&mut answers, &mut answer).unwrap();
    let refused = HostFile::open(&path, Access::ReadWrite).unwrap_err().to_string();
    drop(commands);
    qemu.wait().unwrap();
    assert!(refused.contains(&format!("qemu-io (process {})", qemu.id())), "{answer:?}: {refused}");
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let folder = folder();
    let error = HostFile::open(folder.path(), Access::ReadOnly).unwrap_err();
    assert!(matches!(error, HostFileError::NotABlockFile { .. }));
    let error = HostFile::open(&folder.path().join("absent.vhdx"), Access::ReadOnly).unwrap_err().to_string();
    assert!(error.contains("absent.vhdx"), "{error}");
    let path = folder.path().join("there");
    drop(HostFile::create_new(&path).unwrap());
    assert!(matches!(HostFile::create_new(&path), Err(HostFileError::Io { .. })));
}
