//! Who changed which reservations, and when: one JSON object on one line for each change, in the LUN's state folder.
//!
//! ```text
//! {"time":"2026-11-20T22:31:43.120Z","action":"PREEMPT AND ABORT","initiator":"iqn.2026-11.org:b","isid":"0x80...",...}
//! ```
//!
//! A file that has grown to its bound is renamed to `reservations.1.jsonl`, in place of the one before. The trail is not needed to
//! serve: what cannot be written down is told in the log, and the change stands.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::device::reservation::Holder;
use crate::device::{FenceFailure, Nexus, ReservationEvent};
use crate::limits::AUDIT_FILE_LEN_MAX;

/// The audit trail of one LUN.
#[derive(Debug)]
pub struct AuditTrail {
    path: PathBuf,
    /// Length at which a new file begins, in bytes.
    limit: u64,
    writing: Mutex<()>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    action: &'a str,
    /// `done`, or why the change was not made.
    outcome: &'a str,
    initiator: String,
    isid: String,
    target: String,
    relative_target_port: u16,
    key: String,
    service_action_key: String,
    generation: u32,
    registrations: usize,
    reservation_type: Option<u8>,
    holder: Option<String>,
    removed: Vec<Removed>,
    aborted_commands: usize,
}

#[derive(Serialize)]
struct Removed {
    initiator: String,
    isid: String,
    key: String,
}

impl AuditTrail {
    /// The trail in `folder`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(folder.join("reservations.jsonl"), AUDIT_FILE_LEN_MAX)
    }

    pub(super) const fn new(path: PathBuf, limit: u64) -> Self {
        Self { path, limit, writing: Mutex::new(()) }
    }

    /// Adds a line.
    ///
    /// # Errors
    /// What the host reports.
    pub fn append(
        &self,
        now: SystemTime,
        event: &ReservationEvent,
        outcome: Result<(), FenceFailure>,
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line::new(now, event, outcome))?;
        line.push(b'\n');
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let len = self.path.metadata().map_or(0, |metadata| metadata.len());
        if len != 0 && len + line.len() as u64 > self.limit {
            std::fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
        }
        OpenOptions::new().append(true).create(true).open(&self.path)?.write_all(&line)
    }
}

impl<'a> Line<'a> {
    fn new(now: SystemTime, event: &'a ReservationEvent, outcome: Result<(), FenceFailure>) -> Self {
        let Nexus { initiator, target, relative_target_port } = &event.nexus;
        let record = &event.record;
        let reservation = record.reservation.as_ref();
        Self {
            time: timestamp(now),
            action: event.action,
            outcome: match outcome {
                Ok(()) => "done",
                Err(FenceFailure::DrainTimeout) => "failed: operations on the medium took too long",
                Err(FenceFailure::GivenUp) => "failed: the command was aborted, or another came before it",
                Err(FenceFailure::Persist) => "failed: the record could not be kept",
                Err(FenceFailure::NotMember) => "failed: this gateway has no part in the LUN any more",
                Err(FenceFailure::Replaced) => "failed: another gateway was faster",
            },
            initiator: initiator.name.to_string(),
            isid: initiator.isid.to_string(),
            target: target.to_string(),
            relative_target_port: *relative_target_port,
            key: event.key.to_string(),
            service_action_key: event.service_action_key.to_string(),
            generation: record.generation,
            registrations: record.registrations.len(),
            reservation_type: reservation.map(|reservation| reservation.kind as u8),
            holder: reservation.map(|reservation| match &reservation.holder {
                Holder::AllRegistrants => "all registrants".into(),
                Holder::One(nexus) => nexus.initiator.to_string(),
            }),
            removed: event
                .removed
                .iter()
                .map(|(nexus, key)| Removed {
                    initiator: nexus.initiator.name.to_string(),
                    isid: nexus.initiator.isid.to_string(),
                    key: key.to_string(),
                })
                .collect(),
            aborted_commands: event.aborted,
        }
    }
}

/// ISO 8601 in UTC, with milliseconds.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Civil date from days, in years that begin in March, 400 of which have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}.{:03}Z",
        era * 400 + year + carry,
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
    use lunkeep_common::scsi::persistent::Key;

    use super::*;
    use crate::device::reservation::Record;

    fn event() -> ReservationEvent {
        let nexus = Nexus {
            initiator: InitiatorPort {
                name: "iqn.2026-11.org:b".parse().unwrap(),
                isid: Isid([0x80, 0, 0, 0, 0, 1]),
            },
            target: TargetPort {
                name: "iqn.2026-11.org:t".parse().unwrap(),
                portal_group: PortalGroupTag(1),
            },
            relative_target_port: 1,
        };
        ReservationEvent {
            action: "PREEMPT AND ABORT",
            nexus: nexus.clone(),
            key: Key(2),
            service_action_key: Key(1),
            removed: vec![(nexus, Key(1))],
            aborted: 3,
            record: Arc::new(Record { generation: 7, ..Record::default() }),
        }
    }

    #[test]
    fn each_change_is_a_line_of_json_with_who_whom_and_when() {
        let folder = tempfile::tempdir().unwrap();
        let trail = AuditTrail::in_folder(folder.path());
        let now = UNIX_EPOCH + Duration::from_millis(1_795_213_903_120);
        trail.append(now, &event(), Ok(())).unwrap();
        trail.append(now, &event(), Err(FenceFailure::Persist)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("reservations.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["time"], "2026-11-20T22:31:43.120Z");
        assert_eq!(lines[0]["action"], "PREEMPT AND ABORT");
        assert_eq!(lines[0]["initiator"], "iqn.2026-11.org:b");
        assert_eq!(lines[0]["isid"], "0x800000000001");
        assert_eq!(lines[0]["removed"][0]["key"], "0x0000000000000001");
        assert_eq!(lines[0]["generation"], 7);
        assert_eq!(
            (&lines[0]["outcome"], lines[1]["outcome"].as_str().unwrap().starts_with("failed")),
            (&"done".into(), true)
        );
    }

    #[test]
    fn the_trail_never_takes_more_than_twice_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let trail = AuditTrail::new(folder.path().join("reservations.jsonl"), 2000);
        for _ in 0..50 {
            trail.append(UNIX_EPOCH, &event(), Ok(())).unwrap();
        }
        let sizes: Vec<u64> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|&len| len <= 2000), "{sizes:?}");
    }

    #[test]
    fn dates_are_right_on_leap_days_and_at_the_ends_of_years() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
