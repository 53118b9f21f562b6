//! The LUNs that `iscsi-test-cu` runs against.

use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::tgt::Tgt;
use lunkeep_tests::{programs, tgt};

const USER: &str = "alice";
const SECRET: &str = "alice-secret-0001";
/// Name of the column of tgt, whose run is not judged.
pub(crate) const TGT: &str = "tgt";

/// A kind of LUN, and who serves it.
pub(crate) struct Kind {
    /// As docs/conformance.md names it.
    pub(crate) name: &'static str,
    by: By,
}

enum By {
    /// Lines of `[[target.lun]]`, and whether initiators must prove themselves.
    Lunkeep {
        lun: &'static str,
        chap: bool,
    },
    Tgt,
}

/// Every kind. tgt's has everything that lets the most tests run: thin, removable, with CHAP.
pub(crate) const KINDS: &[Kind] = &[
    Kind { name: "vhdx", by: By::Lunkeep { lun: "path = \"disk.vhdx\"\nsize = \"256M\"", chap: false } },
    Kind { name: "raw", by: By::Lunkeep { lun: "path = \"disk.raw\"\nsize = \"256M\"", chap: false } },
    Kind {
        name: "4096",
        by: By::Lunkeep { lun: "path = \"disk.raw\"\nsize = \"256M\"\nblock_size = 4096", chap: false },
    },
    Kind {
        name: "removable",
        by: By::Lunkeep { lun: "path = \"disk.vhdx\"\nsize = \"256M\"\nremovable = true", chap: true },
    },
    Kind { name: TGT, by: By::Tgt },
];

/// A target that serves a LUN through two portals, or says the same one twice.
pub(crate) enum Served {
    Lunkeep { target: Target, chap: bool },
    Tgt(Tgt),
}

impl Kind {
    /// Whether our target serves it.
    pub(crate) const fn is_ours(&self) -> bool {
        matches!(self.by, By::Lunkeep { .. })
    }

    pub(crate) fn serve(&self, folder: &Folder) -> Served {
        match self.by {
            By::Lunkeep { lun, chap } => serve(folder, lun, chap),
            By::Tgt => {
                let disk = folder.file("tgt.raw");
                std::fs::File::create(&disk).unwrap().set_len(256 << 20).unwrap();
                let served = Tgt::serve(folder.path(), &disk);
                let lun = tgt::LUN.to_string();
                let change = [
                    "--lld",
                    "iscsi",
                    "--op",
                    "update",
                    "--mode",
                    "logicalunit",
                    "--tid",
                    "1",
                    "--lun",
                    &lun,
                ];
                served.admin(&[&change[..], &["--params", "thin_provisioning=1,removable=1"]].concat());
                served.demand_chap(USER, SECRET);
                Served::Tgt(served)
            }
        }
    }
}

/// A LUN that takes no writes.
pub(crate) fn read_only(folder: &Folder) -> Served {
    std::fs::File::create(folder.file("disk.raw")).unwrap().set_len(16 << 20).unwrap();
    serve(folder, "path = \"disk.raw\"\nread_only = true", false)
}

/// A LUN that takes a while to erase. The tool sleeps for a minute between two looks and answers no ping meanwhile, and each new
/// session would begin with a unit attention, which it takes for "not over yet".
pub(crate) fn large(folder: &Folder) -> Served {
    serve(folder, "path = \"disk.raw\"\nsize = \"3G\"\n[limits]\nping_interval = 3600", false)
}

fn serve(folder: &Folder, lun: &str, chap: bool) -> Served {
    let mut config = String::from(
        "[[portal]]\nlisten = \"127.0.0.1:0\"\n[[portal]]\nlisten = \"127.0.0.1:0\"\ngroup = 2\n",
    );
    config += &format!("[[target]]\nname = \"iqn.2024-01.invalid.lunkeep:cu\"\n[[target.lun]]\n{lun}\n");
    if chap {
        config += &format!("[[target.chap]]\nuser = \"{USER}\"\nsecret_env = \"SECRET\"\n");
    }
    let config = folder.write("lunkeep.toml", config);
    Served::Lunkeep { target: Target::configured(programs!(), &config, &[("SECRET", SECRET)]), chap }
}

impl Served {
    /// Two URLs of the LUN.
    pub(crate) fn urls(&self) -> [String; 2] {
        match self {
            Self::Lunkeep { target, chap } => [0, 1].map(|at| {
                let portal = target.document()["portals"][at]["addresses"][0].as_str().unwrap().to_owned();
                let user = if *chap { format!("{USER}%{SECRET}@") } else { String::new() };
                format!("iscsi://{user}{portal}/{}/0", target.iqn())
            }),
            Self::Tgt(tgt) => [(); 2]
                .map(|()| format!("iscsi://{USER}%{SECRET}@{}/{}/{}", tgt.portal(), tgt::IQN, tgt::LUN)),
        }
    }

    pub(crate) fn assert_healthy(&mut self) {
        if let Self::Lunkeep { target, .. } = self {
            target.assert_healthy();
        }
    }

    pub(crate) fn stop(self) {
        if let Self::Lunkeep { target, .. } = self {
            target.stop();
        }
    }
}
