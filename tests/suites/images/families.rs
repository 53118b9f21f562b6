//! Many children on one parent, and chains of the largest disks: what each costs.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use lunkeep_target::engine::{HostEnvironment, HostFile, ParentFolders, host_parents};
use lunkeep_target::image::{Access, BlockFile, ChildOptions, CreateOptions, Disk, Environment, Format};

const MIB: u64 = 1 << 20;

fn environment() -> Arc<dyn Environment> {
    Arc::new(HostEnvironment)
}

fn make(path: &Path, format: Format, options: &CreateOptions) {
    let file = HostFile::create_new(path).unwrap();
    format.create(&file, options, &HostEnvironment).unwrap();
}

fn make_child(path: &Path, format: Format, parent: &Path, size: u64) {
    let base: Arc<dyn BlockFile> = Arc::new(HostFile::open(parent, Access::ReadOnly).unwrap());
    let id = format.identity(&base).unwrap();
    let options = ChildOptions {
        parent: host_parents::record(parent, path.parent().unwrap(), id).unwrap(),
        size,
        block_size: None,
        logical_sector: 512,
        physical_sector: 4096,
    };
    let file = HostFile::create_new(path).unwrap();
    format.create_child(&file, &options, &HostEnvironment).unwrap();
}

fn open(path: &Path, folders: &Arc<ParentFolders>) -> Arc<dyn Disk> {
    let file = HostFile::open(path, Access::ReadWrite).unwrap();
    let lineage = folders.lineage(&file).unwrap();
    let format = Format::of_extension(path).unwrap();
    format.open_in(Arc::new(file), Access::ReadWrite, &environment(), &lineage).unwrap()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Children of one golden image that are open at the same time. Each is an open file, so the usual limit of 1024 bounds a quick run.
#[test]
fn hundreds_of_children_share_one_open_parent_and_cost_one_file_and_little_memory_each() {
    use std::os::unix::fs::MetadataExt as _;
    let children = if lunkeep_tests::report::full() { 4000 } else { 700 };
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = u64::try_from(children).unwrap() + 100;
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = rustix::process::Rlimit {
            current: limit.maximum.map_or(Some(wanted), |m| Some(m.min(wanted))),
            ..limit
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    }
    for (format, extension) in [(Format::Vhdx, "vhdx"), (Format::Vhd, "vhd")] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(format!("{name}.{extension}"));
        let size = 40 << 30;
        make(&path("gold"), format, &CreateOptions::dynamic(size));
        let folders = ParentFolders::new(&[]).unwrap();
        let gold = open(&path("gold"), &folders);
        gold.write_at(&[IoSlice::new(&[7; 4096])], 5 * MIB).unwrap();
        gold.close().unwrap();
        drop(gold);
        let (files, memory) = (open_files(), resident());
        let disks: Vec<_> = (0..children)
            .map(|n| {
                let name = format!("child{n}");
                make_child(&path(&name), format, &path("gold"), size);
                let disk = open(&path(&name), &folders);
                disk.write_at(
                    &[IoSlice::new(&u32::try_from(n).unwrap().to_le_bytes().repeat(128))],
                    5 * MIB + 512,
                )
                .unwrap();
                disk
            })
            .collect();
        assert!(open_files() - files <= children + 2, "{format}: {} files more", open_files() - files);
        let each = (resident().saturating_sub(memory)) / u64::try_from(children).unwrap();
        println!("{format}: {each} bytes of memory for each child");
        assert!(each < 512 << 10, "{format}: {each} bytes each");
        for (n, disk) in disks.iter().enumerate() {
            let mut seen = [0; 1024];
            disk.read_at(&mut seen, 5 * MIB).unwrap();
            assert_eq!((seen[0], &seen[512..516]), (7, &u32::try_from(n).unwrap().to_le_bytes()[..]));
            disk.close().unwrap();
        }
        drop(disks);
        let space = std::fs::metadata(path("child0")).unwrap().blocks() * 512;
        println!("{format}: {space} bytes on disk for each child");
        assert!(space < 8 * MIB, "{format}: {space}");
    }
}

#[test]
fn a_chain_of_disks_of_64_tib_is_made_opened_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: usize| folder.path().join(format!("disk{n}.vhdx"));
    let size = 64 << 40;
    let folders = ParentFolders::new(&[]).unwrap();
    make(&path(0), Format::Vhdx, &CreateOptions::dynamic(size));
    let places = [0, size / 2 + MIB, size - 4096];
    for n in 0..4 {
        if n > 0 {
            make_child(&path(n), Format::Vhdx, &path(n - 1), size);
        }
        let disk = open(&path(n), &folders);
        assert_eq!((disk.geometry().size, disk.chain_depth()), (size, n + 1));
        let stamp = u8::try_from(n).unwrap() + 1;
        for at in places {
            disk.write_at(&[IoSlice::new(&[stamp; 512])], at + 512 * u64::try_from(n).unwrap()).unwrap();
        }
        disk.close().unwrap();
    }
    let disk = open(&path(3), &folders);
    for at in places {
        let mut seen = [0; 4096];
        disk.read_at(&mut seen, at).unwrap();
        assert_eq!([0, 512, 1024, 1536, 2048].map(|at| seen[at]), [1, 2, 3, 4, 0]);
    }
    // A hole is passed over as a whole, however large.
    let mut asked = 0;
    let mut at = 64 * MIB;
    while at < size / 4 {
        at += disk.block_status(at, size / 4 - at).unwrap().1;
        asked += 1;
    }
    assert!(asked < 10_000, "{asked} questions");
    disk.close().unwrap();
    drop(disk);
    let format = Format::Vhdx;
    let file: Arc<dyn BlockFile> = Arc::new(HostFile::open(&path(3), Access::ReadOnly).unwrap());
    assert!(format.check(&file, false, &environment()).unwrap().is_sound());
}
