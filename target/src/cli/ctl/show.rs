//! Answers of the server as text for people.

use crate::daemon::control::model;
use crate::daemon::size;

pub(super) fn status(status: &model::Status) -> String {
    let mut lines = vec![format!("process {}, portals {}", status.pid, status.portals.join("  "))];
    for target in &status.targets {
        lines.push(format!("{}  sessions {}", target.name, target.sessions));
        lines.extend(target.alias.as_ref().map(|alias| format!("  {alias}")));
        lines.extend(target.portal_groups.as_ref().map(|groups| format!("  portal groups {groups:?}")));
        lines.extend(target.redirect.as_ref().map(|redirect| format!("  {}", sent(redirect))));
        lines.extend(target.luns.iter().map(lun));
    }
    lines.join("\n")
}

fn lun(lun: &model::Lun) -> String {
    let chain = format!("chain of {}", lun.chain);
    let registrations = format!("registrations {}", lun.registrations);
    let flags = [
        (!lun.medium, "ejected"),
        (lun.chain > 1, chain.as_str()),
        (lun.thin, "thin"),
        (lun.block_size != 512, "4096-byte blocks"),
        (lun.read_only, "read-only"),
        (lun.removable, "removable"),
        (lun.reserved, "reserved"),
        (lun.registrations > 0, registrations.as_str()),
    ];
    let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, text)| format!(", {text}")).collect();
    format!(
        "  LUN {}  {}: {}, {}{flags}; serial {}",
        lun.number,
        lun.path.display(),
        lun.format,
        size::display(lun.size),
        lun.serial
    )
}

fn sent(redirect: &model::Redirect) -> String {
    let how = if redirect.permanent { "from now on" } else { "for now" };
    format!("initiators are sent to {}, {how}", redirect.to)
}

pub(super) fn redirected(target: &model::TargetRedirected) -> String {
    let what = target.redirect.as_ref().map_or_else(|| "takes initiators in again".into(), sent);
    format!("{}: {what}", target.name)
}

pub(super) fn sessions(sessions: &model::Sessions) -> String {
    if sessions.sessions.is_empty() {
        return "nobody is logged in".into();
    }
    let lines = sessions.sessions.iter().map(|session| {
        let luns: Vec<String> = session.luns.iter().map(ToString::to_string).collect();
        format!(
            "{}  {} isid {}  {}  connections {}, commands {}, LUNs {}",
            session.session,
            session.initiator,
            session.isid,
            session.target.as_deref().unwrap_or("discovery"),
            session.connections,
            session.tasks,
            if luns.is_empty() { "none".into() } else { luns.join(" ") }
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What became of a LUN.
pub(super) fn lun_changed(became: &'static str) -> impl FnOnce(&model::LunChanged) -> String {
    move |changed| {
        format!("{}: {became}: {}, {}", changed.lun, changed.path.display(), size::display(changed.size))
    }
}

pub(super) fn lun_removed(removed: &model::LunRemoved) -> String {
    let image = if removed.closed {
        "its image is closed"
    } else {
        "its image stays open: another target exports it"
    };
    format!("{}: served no more; {image}", removed.lun)
}

pub(super) fn snapshot(snapshot: &model::Snapshot) -> String {
    format!(
        "{}: served from {}, a differencing disk now\n{}: its state until now, which must not change",
        snapshot.lun,
        snapshot.path.display(),
        snapshot.parent.display()
    )
}

pub(super) fn ended(ended: &model::SessionsEnded) -> String {
    format!("sessions logged out {}, dropped {}", ended.obeyed, ended.dropped)
}
