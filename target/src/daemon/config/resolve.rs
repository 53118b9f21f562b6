//! From the tables of the file to a [`ServeSpec`]: names, addresses, references between tables, secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use lunkeep_common::limits::KEY_VALUE_LEN_MAX;
use lunkeep_common::name::{IscsiName, PortalGroupTag};
use lunkeep_common::scsi::Lun as WireLun;

use super::problem::Problem;
use super::secret;
use super::tables::{At, Chap, File, Initiator, Limits, Lun, LunMap, Portal, Reservations, Target};
use crate::daemon::size;
use crate::daemon::spec::{
    Access, Authentication, Control, CreateSpec, Credential, LunAddress, LunSource, LunSpec, LunView,
    PortalSpec, ServeSpec, TargetSpec, default_portals, parse_listen, redirect_to,
};
use crate::engine::config::{ColdResetPolicy, PortalGroups, Redirect, Settings};
use crate::image::Allocation;
use crate::limits::SESSION_MEMORY_MIN;
use crate::store::StateLocation;

/// Checks the tables. Relative paths start at `folder`.
///
/// # Errors
/// Every problem.
pub fn resolve(
    file: File,
    folder: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ServeSpec, Vec<Problem>> {
    let (problems, notes) = (Vec::new(), Vec::new());
    let mut resolver = Resolver { folder, variable, problems, notes, groups: BTreeSet::new() };
    let spec = resolver.file(file);
    if resolver.problems.is_empty() { Ok(spec) } else { Err(resolver.problems) }
}

struct Resolver<'a> {
    folder: &'a Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    /// Portal groups of the portals.
    groups: BTreeSet<PortalGroupTag>,
}

impl Resolver<'_> {
    fn problem(&mut self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(Some(at), message, help));
    }

    /// Notes an error at its place and goes on without the value.
    fn keep<T, E: Display>(&mut self, at: Range<usize>, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(at, error.to_string(), "")).ok()
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, text: &At<String>) -> Option<T> {
        self.keep(text.span(), text.get_ref().parse())
    }

    fn file(&mut self, file: File) -> ServeSpec {
        let default_are_used = file.portal.is_empty();
        let portals = if default_are_used { default_portals() } else { self.portals(&file.portal) };
        self.groups = portals.iter().map(|portal| portal.group).collect();
        if file.target.is_empty() {
            self.problems.push(Problem::new(
                None,
                "there is no [[target]]",
                "add a [[target]] with a `name` and at least one [[target.lun]]",
            ));
        }
        let discovery = file.discovery.map_or(Authentication::None, |discovery| {
            self.authentication(&discovery.chap, discovery.mutual_chap.as_ref())
        });
        let mut targets: Vec<TargetSpec> = Vec::new();
        for target in &file.target {
            let spec = self.target(target);
            if spec.name.is_some() && targets.iter().any(|other| other.name == spec.name) {
                self.problem(
                    target.name.span(),
                    "another target has this name",
                    "give each target its own name",
                );
            }
            targets.push(spec);
        }
        self.references(&file.target, &targets);
        let state = match &file.state {
            Some(state) => StateLocation::Folder(self.folder.join(state.get_ref())),
            None => StateLocation::BesideImage,
        };
        let control = match &file.control {
            None => Control::InState,
            Some(path) if path.get_ref().is_empty() => Control::Absent,
            Some(path) => Control::At(self.folder.join(path.get_ref())),
        };
        let parent_dirs = file.parent_dirs.iter().map(|folder| self.folder.join(folder.get_ref())).collect();
        let mut settings = self.settings(&file.limits.unwrap_or_default());
        self.reservations(&file.reservations.unwrap_or_default(), &mut settings);
        let notes = std::mem::take(&mut self.notes);
        ServeSpec {
            portals,
            default_portals: default_are_used,
            state,
            parent_dirs,
            targets,
            discovery,
            settings,
            control,
            notes,
        }
    }

    fn settings(&mut self, table: &Limits) -> Settings {
        let mut settings = Settings::default();
        if let Some(sessions) = self.within(table.sessions.as_ref(), 1..=65535) {
            settings.sessions_max = sessions as usize;
        }
        if let Some(depth) = self.within(table.queue_depth.as_ref(), 1..=4096) {
            settings.session.queue_depth = depth;
        }
        if let Some(memory) = &table.session_memory {
            let bytes = self.keep(memory.span(), size::parse(memory.get_ref()));
            match bytes.map(u32::try_from) {
                Some(Ok(bytes)) if bytes >= SESSION_MEMORY_MIN => settings.session_buffer_bytes = bytes,
                Some(_) => self.problem(memory.span(), "the memory of a session is 16M to 4095M", ""),
                None => {}
            }
        }
        if let Some(connections) = self.within(table.max_connections.as_ref(), 1..=64) {
            settings.offer.max_connections = u16::try_from(connections).unwrap_or(1);
        }
        if let Some(level) = self.within(table.error_recovery_level.as_ref(), 0..=2) {
            settings.offer.error_recovery_level = u8::try_from(level).unwrap_or(0);
        }
        let times = [
            (&table.login_timeout, &mut settings.login_timeout),
            (&table.ping_interval, &mut settings.session.ping_interval),
            (&table.ping_timeout, &mut settings.session.ping_timeout),
            (&table.drain_timeout, &mut settings.drain_timeout),
        ];
        for (seconds, setting) in times {
            if let Some(seconds) = self.within(seconds.as_ref(), 1..=3600) {
                *setting = Duration::from_secs(seconds.into());
            }
        }
        settings
    }

    fn reservations(&mut self, table: &Reservations, settings: &mut Settings) {
        if let Some(force) = table.force_aptpl {
            settings.force_aptpl = force;
        }
        let Some(policy) = &table.cold_reset else { return };
        settings.cold_reset = match policy.get_ref().as_str() {
            "everyone" => ColdResetPolicy::Everyone,
            "harmless" => ColdResetPolicy::Harmless,
            "nobody" => ColdResetPolicy::Nobody,
            _ => {
                return self.problem(
                    policy.span(),
                    "this is no policy for TARGET COLD RESET",
                    "write \"everyone\", \"harmless\" or \"nobody\"",
                );
            }
        };
    }

    fn within(&mut self, value: Option<&At<u32>>, range: RangeInclusive<u32>) -> Option<u32> {
        let value = value?;
        let inside = range.contains(value.get_ref());
        if !inside {
            self.problem(
                value.span(),
                format!("this is a number from {} to {}", range.start(), range.end()),
                "",
            );
        }
        inside.then_some(*value.get_ref())
    }

    fn portals(&mut self, tables: &[Portal]) -> Vec<PortalSpec> {
        let mut portals: Vec<PortalSpec> = Vec::new();
        for table in tables {
            let listen = self.keep(table.listen.span(), parse_listen(table.listen.get_ref()));
            let announce = table.announce.as_ref().and_then(|announce| self.parsed(announce));
            let group = table.group.as_ref().map_or(1, |group| *group.get_ref());
            if let Some(at) = table.group.as_ref().filter(|group| *group.get_ref() == 0) {
                self.problem(at.span(), "portal group tags begin at 1", "write a number from 1 to 65535");
            }
            let Some(listen) = listen else { continue };
            if listen.port() != 0 && portals.iter().any(|other| other.listen == listen) {
                self.problem(
                    table.listen.span(),
                    format!("another portal listens on {listen}"),
                    "remove one of the two",
                );
            }
            portals.push(PortalSpec { listen, announce, group: PortalGroupTag(group) });
        }
        portals
    }

    fn target(&mut self, table: &Target) -> TargetSpec {
        let name = self.parsed::<IscsiName>(&table.name);
        let alias = table.alias.as_ref().and_then(|alias| {
            let text = alias.get_ref();
            let bad = text.is_empty() || text.len() > KEY_VALUE_LEN_MAX || text.chars().any(char::is_control);
            if bad {
                self.problem(
                    alias.span(),
                    format!("an alias has 1 to {KEY_VALUE_LEN_MAX} bytes and no control characters"),
                    "",
                );
            }
            (!bad).then(|| text.clone())
        });
        if table.lun.is_empty() && table.redirect.is_none() {
            self.problem(table.name.span(), "this target has no LUN", "add a [[target.lun]] with a `path`");
        }
        let mut luns = BTreeMap::new();
        for (place, lun) in table.lun.iter().enumerate() {
            let (number, at) = match &lun.get_ref().number {
                Some(number) => (*number.get_ref(), number.span()),
                None => (u16::try_from(place).unwrap_or(u16::MAX), place_of(lun)),
            };
            if number > WireLun::NUMBER_MAX {
                self.problem(
                    at.clone(),
                    format!("LUN {number} is too high"),
                    format!("LUN numbers go from 0 to {}", WireLun::NUMBER_MAX),
                );
            }
            let Some(source) = self.lun(lun) else { continue };
            if luns.insert(number, source).is_some() {
                self.problem(
                    at,
                    format!("LUN {number} is there twice"),
                    "without `number` a LUN gets its place in the file: 0, 1, and so on",
                );
            }
        }
        let authentication = self.authentication(&table.chap, table.mutual_chap.as_ref());
        let access = self.access(&table.initiator, &luns);
        let portal_groups = self.portal_groups(table.portal_groups.as_ref());
        let redirect = table.redirect.as_ref().and_then(|redirect| {
            let to = self.keep(redirect.to.span(), redirect_to(redirect.to.get_ref()))?;
            Some(Redirect { to, permanent: redirect.permanent.unwrap_or(false) })
        });
        TargetSpec { name, alias, luns, authentication, access, portal_groups, redirect }
    }

    /// Every one must be the group of a portal, or initiators would look for the target in vain.
    fn portal_groups(&mut self, groups: Option<&At<Vec<At<u16>>>>) -> PortalGroups {
        let Some(groups) = groups else { return PortalGroups::All };
        if groups.get_ref().is_empty() {
            self.problem(
                groups.span(),
                "without a portal group nobody can reach the target",
                "name one, or remove the key: then every portal leads to it",
            );
        }
        for group in groups.get_ref() {
            let tag = PortalGroupTag(*group.get_ref());
            if !self.groups.contains(&tag) {
                self.problem(
                    group.span(),
                    format!("no [[portal]] has the group {}", tag.0),
                    "portals without `group` are in group 1",
                );
            }
        }
        PortalGroups::Only(groups.get_ref().iter().map(|group| PortalGroupTag(*group.get_ref())).collect())
    }

    fn lun(&mut self, table: &At<Lun>) -> Option<LunSource> {
        match (&table.get_ref().path, &table.get_ref().same_as) {
            (Some(path), None) => Some(LunSource::Image(self.image(table.get_ref(), path))),
            (None, Some(same_as)) => {
                self.refuse_shape(table.get_ref());
                let address = self.parsed::<LunAddress>(same_as)?;
                Some(LunSource::SameAs(address))
            }
            (Some(_), Some(same_as)) => {
                self.problem(
                    same_as.span(),
                    "`path` and `same_as` are both there",
                    "remove one: a LUN is an image of its own, or the logical unit of another target",
                );
                None
            }
            (None, None) => {
                self.problem(
                    table.span(),
                    "key `path` is missing in [target.lun]",
                    "add a line `path = ...`, or `same_as = \"TARGET/NUMBER\"` to export the LUN of another target",
                );
                None
            }
        }
    }

    /// What says how an image is made or served has no place where a logical unit is that of another target.
    fn refuse_shape(&mut self, table: &Lun) {
        let keys = [
            table.format.as_ref().map(|key| key.span()),
            table.size.as_ref().map(|key| key.span()),
            table.fixed.as_ref().map(|key| key.span()),
            table.block_size.as_ref().map(|key| key.span()),
            table.read_only.as_ref().map(|key| key.span()),
            table.removable.as_ref().map(|key| key.span()),
            table.serial.as_ref().map(|key| key.span()),
        ];
        for at in keys.into_iter().flatten() {
            self.problem(
                at,
                "only `number` goes together with `same_as`",
                "it is one logical unit: say this where its `path` is",
            );
        }
    }

    /// Every `same_as` must name an image of another target, and each only once in a target.
    fn references(&mut self, tables: &[Target], targets: &[TargetSpec]) {
        for (table, target) in tables.iter().zip(targets) {
            let mut named: Vec<LunAddress> = Vec::new();
            for same_as in table.lun.iter().filter_map(|lun| lun.get_ref().same_as.as_ref()) {
                let Ok(address) = same_as.get_ref().parse::<LunAddress>() else { continue };
                let other = targets.iter().find(|other| other.name.as_ref() == Some(&address.target));
                let (message, help) = match other.map(|other| (other, other.luns.get(&address.number))) {
                    None => (format!("there is no target {}", address.target), "write TARGET/NUMBER"),
                    Some((other, _)) if other.name == target.name => (
                        "this is a LUN of the same target".into(),
                        "an initiator would take it for two disks: remove it",
                    ),
                    Some((_, None)) => {
                        (format!("target {} has no LUN {}", address.target, address.number), "")
                    }
                    Some((_, Some(LunSource::SameAs(origin)))) => (
                        format!("LUN {address} is itself the same as {origin}"),
                        "name the LUN that has a `path`",
                    ),
                    Some(_) if named.contains(&address) => (
                        format!("this target exports {address} twice"),
                        "an initiator would take it for two disks: remove one",
                    ),
                    Some(_) => {
                        named.push(address);
                        continue;
                    }
                };
                self.problem(same_as.span(), message, help);
            }
        }
    }

    fn image(&mut self, table: &Lun, path: &At<String>) -> LunSpec {
        if path.get_ref().is_empty() {
            self.problem(path.span(), "the path is empty", "write the path of the image");
        }
        let size = table.size.as_ref().and_then(|size| self.keep(size.span(), size::parse(size.get_ref())));
        let block = table.block_size.as_ref();
        if let Some(block) = block.filter(|block| !matches!(block.get_ref(), 512 | 4096)) {
            self.problem(block.span(), "a block size is 512 or 4096", "");
        }
        if let (None, Some(fixed)) = (&table.size, &table.fixed) {
            self.problem(
                fixed.span(),
                "this key says how an image is created, but there is no `size`",
                "add `size`, or remove this key",
            );
        }
        let is = |key: &Option<At<bool>>| key.as_ref().is_some_and(|key| *key.get_ref());
        let allocation = if is(&table.fixed) { Allocation::Fixed } else { Allocation::Dynamic };
        LunSpec {
            path: self.folder.join(path.get_ref()),
            format: table.format.as_ref().and_then(|format| self.parsed(format)),
            create: size.map(|size| CreateSpec { size, allocation }),
            logical_block: block.map(|block| *block.get_ref()),
            read_only: is(&table.read_only),
            removable: is(&table.removable),
            serial: table.serial.as_ref().and_then(|serial| self.parsed(serial)),
        }
    }

    fn access(&mut self, tables: &[Initiator], luns: &BTreeMap<u16, LunSource>) -> Access {
        if tables.is_empty() {
            return Access::Everyone;
        }
        let mut allowed = BTreeMap::new();
        for table in tables {
            let view = table.luns.as_ref().map_or(LunView::All, |map| self.view(map, luns));
            let Some(name) = self.parsed::<IscsiName>(&table.name) else { continue };
            if allowed.insert(name, view).is_some() {
                self.problem(
                    table.name.span(),
                    "this initiator is there twice",
                    "put all its LUNs into one [[target.initiator]]",
                );
            }
        }
        Access::Only(allowed)
    }

    fn view(&mut self, map: &At<LunMap>, luns: &BTreeMap<u16, LunSource>) -> LunView {
        let numbers = &map.get_ref().0;
        let help = "name LUNs of this target; leave `luns` out to show all";
        if numbers.is_empty() {
            self.problem(map.span(), "this initiator would see no LUN", help);
        }
        let mut shown = BTreeSet::new();
        for (seen, lun) in numbers {
            if !shown.insert(lun) {
                self.problem(
                    map.span(),
                    format!("LUN {lun} is shown under two numbers"),
                    "an initiator would take it for two disks: remove one",
                );
            }
            if !luns.contains_key(lun) {
                self.problem(map.span(), format!("this target has no LUN {lun}"), help);
            }
            if *seen > WireLun::NUMBER_MAX {
                self.problem(
                    map.span(),
                    format!("LUN {seen} is too high"),
                    format!("LUN numbers go from 0 to {}", WireLun::NUMBER_MAX),
                );
            }
        }
        LunView::Map(numbers.clone())
    }

    fn authentication(&mut self, users: &[At<Chap>], mutual: Option<&At<Chap>>) -> Authentication {
        let before = self.problems.len();
        let credentials: Vec<_> = users.iter().filter_map(|user| self.credential(user)).collect();
        let own = mutual.and_then(|mutual| self.credential(mutual));
        let at = mutual.or(users.last()).map(|chap| chap.get_ref().user.span());
        match at {
            Some(at) if self.problems.len() == before => {
                self.keep(at, Authentication::chap(credentials, own)).unwrap_or(Authentication::None)
            }
            // There is nothing to ask for, or a problem that keeps the server from starting.
            _ => Authentication::None,
        }
    }

    fn credential(&mut self, table: &At<Chap>) -> Option<Credential> {
        let chap = table.get_ref();
        let name = chap.user.get_ref();
        if name.is_empty() || name.len() > KEY_VALUE_LEN_MAX || name.chars().any(char::is_control) {
            self.problem(
                chap.user.span(),
                format!("a CHAP user name has 1 to {KEY_VALUE_LEN_MAX} bytes and no control characters"),
                "",
            );
            return None;
        }
        let secret = match (&chap.secret_file, &chap.secret_env) {
            (Some(file), None) => {
                let path = self.folder.join(file.get_ref());
                if secret::is_exposed(&path) {
                    self.notes.push(secret::exposed_note(&path));
                }
                self.keep(file.span(), secret::from_file(&path))
            }
            (None, Some(name)) => {
                self.keep(name.span(), secret::from_variable(name.get_ref(), self.variable))
            }
            (None, None) => {
                self.problem(
                    chap.user.span(),
                    "this user has no secret",
                    "add `secret_file` or `secret_env`",
                );
                None
            }
            (Some(_), Some(name)) => {
                self.problem(
                    name.span(),
                    "`secret_file` and `secret_env` are both there",
                    "remove one of the two",
                );
                None
            }
        };
        Some(Credential { name: name.clone(), secret: secret? })
    }
}

/// Where the table of a LUN is, for problems with the LUN as a whole.
fn place_of(lun: &At<Lun>) -> Range<usize> {
    let named = lun.get_ref().path.as_ref().or(lun.get_ref().same_as.as_ref());
    named.map_or_else(|| lun.span(), At::span)
}
