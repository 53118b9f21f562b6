//! The arguments of `serve`, and what they say is to be served.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use lunkeep_common::name::{IscsiName, PortalGroupTag};
use lunkeep_common::scsi::Lun;

use crate::daemon::config::{self, secret};
use crate::daemon::disk_flag::DiskFlag;
use crate::daemon::spec::{
    Access, Announce, Authentication, Control, Credential, LunSource, LunView, PortalSpec, ServeSpec,
    TargetSpec, default_portals, parse_listen,
};
use crate::engine::config::{PortalGroups, Settings};
use crate::store::StateLocation;

/// What `serve` is told on the command line.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["config", "disk"]).required(true))]
#[command(after_help = "\
Each --disk is a LUN of one target: the first is LUN 0, the next LUN 1, and so on.

  serve --disk shared.vhdx,size=1G              create shared.vhdx when it is missing, and serve it
  serve --disk quorum.vhdx --disk data.img,ro   LUN 0 and LUN 1
  serve lab.toml                                several targets, users and LUN masks: see docs/serve.md

The identity of a LUN (NAA designator and serial number) is kept in IMAGE.lunkeep beside the image, or below --state DIR, \
and never changes.

Exit codes: 0 stopped cleanly, 1 failed, 2 wrong command line or configuration, 3 stopped at once by a second signal.")]
pub struct ServeArgs {
    /// Configuration file in TOML (docs/serve.md)
    #[arg(value_name = "CONFIG.toml")]
    pub config: Option<PathBuf>,

    /// An image to serve, with options after commas: size=10G, format=vhdx, fixed, ro, removable, block=4096, serial=TEXT.
    /// With a size a missing image is created: its format is that of its name, VHDX without an extension
    #[arg(long, value_name = "PATH[,OPTIONS]")]
    pub disk: Vec<DiskFlag>,

    /// Where to listen, by default on port 3260 of every address; port 0 takes any free port. Goes before the portals of CONFIG.toml
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_listen)]
    pub listen: Vec<SocketAddr>,

    /// What initiators are told as the address of the portals, for NAT and guests
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "config")]
    pub announce: Option<Announce>,

    /// Name of the target [default: made of the names of host and first image at the first start, then kept]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub iqn: Option<IscsiName>,

    /// Folder for the identities of LUNs [default: IMAGE.lunkeep beside each image]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Control socket, for `lunkeep-target ctl` [default: control.sock in the state folder, or in IMAGE.lunkeep of the first image]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,

    /// Have no control socket
    #[arg(long, conflicts_with = "control")]
    pub no_control: bool,

    /// End persistent reservations that were made without APTPL when the server stops [default: keep all: docs/reservations.md]
    #[arg(long, conflicts_with = "config")]
    pub no_force_aptpl: bool,

    /// Folder in which parents of differencing disks may be, beside that of the image; may be given several times
    #[arg(long, value_name = "DIR")]
    pub parent_dir: Vec<PathBuf>,

    /// User name that initiators log in with, by CHAP
    #[arg(long, value_name = "NAME", requires = "chap_secret_file", conflicts_with = "config")]
    pub chap_user: Option<String>,

    /// File that holds the secret of that user
    #[arg(long, value_name = "FILE", requires = "chap_user", conflicts_with = "config")]
    pub chap_secret_file: Option<PathBuf>,

    /// Initiator that may log in; may be given several times [default: every initiator]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub allow_initiator: Vec<IscsiName>,

    /// Check configuration, images and state, then stop; change nothing
    #[arg(long)]
    pub check: bool,

    /// Print what is served as one JSON document on one line, once initiators can log in
    #[arg(long)]
    pub json: bool,

    /// What to log to standard error: error, warn, info, debug, trace, or a filter such as lunkeep_target::engine=debug
    #[arg(long, value_name = "LEVEL", env = "LUNKEEP_LOG", default_value = "info")]
    pub log: String,
}

impl ServeArgs {
    /// What is to be served.
    ///
    /// # Errors
    /// A text for the user, of one or more lines.
    pub fn spec(&self) -> Result<ServeSpec, String> {
        let mut spec = match &self.config {
            Some(path) => {
                config::load(path, &|name| std::env::var(name).ok()).map_err(|error| error.to_string())?
            }
            None => self.spec_of_flags()?,
        };
        if !self.listen.is_empty() {
            spec.default_portals = false;
            spec.portals = self.listen.iter().copied().map(|listen| self.portal(listen)).collect();
        }
        if let Some(folder) = &self.state {
            spec.state = StateLocation::Folder(folder.clone());
        }
        if self.no_control {
            spec.control = Control::Absent;
        } else if let Some(path) = &self.control {
            spec.control = Control::At(path.clone());
        }
        spec.parent_dirs.extend(self.parent_dir.iter().cloned());
        Ok(spec)
    }

    fn portal(&self, listen: SocketAddr) -> PortalSpec {
        PortalSpec { listen, announce: self.announce.clone(), group: PortalGroupTag(1) }
    }

    fn spec_of_flags(&self) -> Result<ServeSpec, String> {
        if self.disk.len() > usize::from(Lun::NUMBER_MAX) + 1 {
            return Err(format!("a target has at most {} LUNs", u32::from(Lun::NUMBER_MAX) + 1));
        }
        let images = self.disk.iter().map(|flag| LunSource::Image(flag.0.clone()));
        let luns: BTreeMap<u16, _> = (0..).zip(images).collect();
        let mut notes = Vec::new();
        let mut users = Vec::new();
        if let (Some(name), Some(path)) = (&self.chap_user, &self.chap_secret_file) {
            if name.is_empty() {
                return Err("--chap-user needs a name".into());
            }
            if secret::is_exposed(path) {
                notes.push(secret::exposed_note(path));
            }
            users.push(Credential { name: name.clone(), secret: secret::from_file(path)? });
        }
        let access = if self.allow_initiator.is_empty() {
            Access::Everyone
        } else {
            Access::Only(self.allow_initiator.iter().map(|name| (name.clone(), LunView::All)).collect())
        };
        let target = TargetSpec {
            name: self.iqn.clone(),
            alias: None,
            luns,
            authentication: Authentication::chap(users, None)?,
            access,
            portal_groups: PortalGroups::All,
            redirect: None,
        };
        Ok(ServeSpec {
            portals: default_portals().into_iter().map(|portal| self.portal(portal.listen)).collect(),
            default_portals: true,
            state: StateLocation::BesideImage,
            parent_dirs: Vec::new(),
            targets: vec![target],
            discovery: Authentication::None,
            settings: Settings { force_aptpl: !self.no_force_aptpl, ..Settings::default() },
            control: Control::default(),
            notes,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::daemon::spec::LunSpec;

    #[derive(Parser)]
    struct Serve {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn args(line: &str) -> Result<ServeArgs, clap::Error> {
        Serve::try_parse_from(["serve"].into_iter().chain(line.split_whitespace())).map(|serve| serve.args)
    }

    fn image(lun: &LunSource) -> &LunSpec {
        let LunSource::Image(image) = lun else { panic!("a flag names an image") };
        image
    }

    #[test]
    fn disks_are_numbered_in_their_order() {
        let spec = args("--disk a.vhdx,size=1G --disk b.img,ro").unwrap().spec().unwrap();
        let [target] = &spec.targets[..] else { panic!("one target") };
        let luns: Vec<_> = target
            .luns
            .iter()
            .map(|(n, lun)| (*n, image(lun).path.to_str().unwrap(), image(lun).read_only))
            .collect();
        assert_eq!(luns, [(0, "a.vhdx", false), (1, "b.img", true)]);
        assert_eq!((target.name.clone(), target.access.clone()), (None, Access::Everyone));
        assert!(spec.default_portals);
        let listen: Vec<_> = spec.portals.iter().map(|portal| portal.listen.to_string()).collect();
        assert_eq!(listen, ["0.0.0.0:3260", "[::]:3260"]);
    }

    #[test]
    fn flags_replace_the_portals_and_the_state_folder_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lab.toml");
        std::fs::write(
            &file,
            "state = \"s\"\n[[portal]]\nlisten = \"0.0.0.0\"\n[[target]]\nname = \"iqn.2026-11.org.example:a\"\nlun = [{ path = \"a.raw\" }]\n",
        )
        .unwrap();
        let spec =
            args(&format!("{} --listen 127.0.0.1:0 --state other", file.display())).unwrap().spec().unwrap();
        assert_eq!(spec.portals.len(), 1);
        assert_eq!(spec.portals[0].listen.to_string(), "127.0.0.1:0");
        assert_eq!(spec.state, StateLocation::Folder("other".into()));
    }

    #[test]
    fn a_user_and_allowed_initiators_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "correct horse battery\n").unwrap();
        let line = format!(
            "--disk a --iqn iqn.2026-11.org.example:A --chap-user alice --chap-secret-file {} --allow-initiator iqn.2026-11.org.example:i \
             --announce storage.example",
            file.display()
        );
        let spec = args(&line).unwrap().spec().unwrap();
        let target = &spec.targets[0];
        assert_eq!(target.name.as_ref().unwrap().as_str(), "iqn.2026-11.org.example:a");
        assert!(
            matches!(&target.authentication, Authentication::Chap { users, mutual: None } if users[0].secret.bytes() == b"correct horse battery")
        );
        assert!(matches!(&target.access, Access::Only(allowed) if allowed.len() == 1));
        assert!(
            spec.portals.iter().all(|portal| portal.announce.as_ref().unwrap().host == "storage.example")
        );
    }

    #[test]
    fn the_documentation_describes_every_flag() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/serve.md")).unwrap();
        let command = <Serve as clap::CommandFactory>::command();
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("`--{flag}")), "--{flag}");
        }
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "",
            "--disk",
            "--disk a,size=x",
            "lab.toml --disk a",
            "lab.toml --iqn iqn.2026-11.org.example:a",
            "--disk a --iqn disk",
            "--disk a --listen localhost:3260",
            "--disk a --announce a,b",
            "--disk a --chap-user alice",
            "--disk a --chap-secret-file f",
            "--disk a --allow-initiator x",
        ] {
            assert!(args(line).is_err(), "{line}");
        }
    }
}
