//! The reservation record of a LUN as a file of its state folder.
//!
//! The file names the LUN that it belongs to. One that cannot be understood, or belongs to another LUN, is *damaged*, never
//! *empty*: an empty record would let everybody write whom the lost one kept out. A record without reservations is written like
//! any other, so that a file is missing only where there never was a record.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
use lunkeep_common::scsi::persistent::{Key, ReservationType};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::files::{Files, HostFiles};
use super::identity::Naa;
use super::lun_state::{LunStateError, LunStateStore, SwapTicket};
use super::record;
use crate::device::Nexus;
use crate::device::reservation::{Holder, Record, Registration, Reservation};

/// The record of one LUN in one file.
#[derive(Debug)]
pub struct FileState(Mutex<RecordFile<HostFiles>>);

impl FileState {
    /// The record at `path`, which belongs to the LUN `naa`. Nothing is read or made yet.
    #[must_use]
    pub fn new(path: PathBuf, naa: Naa) -> Self {
        Self(Mutex::new(RecordFile::new(HostFiles, path, naa)))
    }
}

impl LunStateStore for FileState {
    fn load(&self) -> Result<(Record, SwapTicket), LunStateError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).load()
    }

    fn compare_and_swap(&self, expected: SwapTicket, record: &Record) -> Result<SwapTicket, LunStateError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).swap(expected, record)
    }
}

/// A record's file, and what it is known to hold.
#[derive(Debug)]
pub(super) struct RecordFile<F> {
    files: F,
    path: PathBuf,
    naa: Naa,
    kept: Option<Kept>,
    /// What is there is damaged, and stays there until it is replaced.
    damaged: bool,
}

impl<F: Files> RecordFile<F> {
    pub(super) const fn new(files: F, path: PathBuf, naa: Naa) -> Self {
        Self { files, path, naa, kept: None, damaged: false }
    }

    pub(super) fn load(&mut self) -> Result<(Record, SwapTicket), LunStateError> {
        match self.read() {
            Ok(None) => Ok((Record::default(), SwapTicket::default())),
            Ok(Some((kept, found))) => {
                let ticket = SwapTicket(kept.sequence);
                self.kept = Some(kept);
                Ok((found, ticket))
            }
            Err(error @ StoreError::Damaged { .. }) => {
                self.damaged = true;
                Err(LunStateError::Damaged { error, ticket: SwapTicket::default() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self) -> Result<Option<(Kept, Record)>, StoreError> {
        let Some(kept) = record::load::<Kept>(&self.files, &self.path)? else { return Ok(None) };
        let damaged = |reason| StoreError::Damaged { path: self.path.clone(), reason };
        if kept.naa != self.naa {
            return Err(damaged(format!(
                "it holds the reservations of LUN {}, not of {}",
                kept.naa, self.naa
            )));
        }
        let found = kept.to_record().map_err(damaged)?;
        Ok(Some((kept, found)))
    }

    pub(super) fn swap(
        &mut self,
        expected: SwapTicket,
        record: &Record,
    ) -> Result<SwapTicket, LunStateError> {
        let found = self.kept.as_ref().map_or(0, |kept| kept.sequence);
        if found != expected.0 {
            return Err(LunStateError::Replaced { expected: expected.0, found });
        }
        let new = Kept::new(self.naa, found + 1, record);
        if let Err(error) = record::save(&self.files, &self.path, &new) {
            self.put_back();
            return Err(error.into());
        }
        let ticket = SwapTicket(new.sequence);
        self.kept = Some(new);
        self.damaged = false;
        Ok(ticket)
    }

    /// The command that failed has not happened: as far as the host allows, the file should say so too.
    fn put_back(&self) {
        if self.damaged {
            // An empty record would be worse than one that nobody can read.
            return;
        }
        let old = self.kept.clone().unwrap_or_else(|| Kept::new(self.naa, 0, &Record::default()));
        if let Err(error) = record::save(&self.files, &self.path, &old) {
            tracing::error!(%error, "it is unknown which reservations will be found at the next start");
        }
    }
}

/// The file of `folder`.
#[must_use]
pub fn file_in(folder: &Path) -> PathBuf {
    folder.join("reservations.json")
}

/// The JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    naa: Naa,
    sequence: u64,
    generation: u32,
    aptpl: bool,
    reservation: Option<KeptReservation>,
    registrations: Vec<KeptRegistration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptReservation {
    #[serde(rename = "type")]
    kind: u8,
    /// Number of the registration that holds it; absent for an all-registrants type.
    holder: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRegistration {
    initiator: String,
    isid: String,
    target: String,
    portal_group: u16,
    relative_target_port: u16,
    key: String,
    all_target_ports: bool,
}

impl record::Record for Kept {
    const KIND: &'static str = "reservations";
    const VERSION: u32 = 1;
}

impl Kept {
    fn new(naa: Naa, sequence: u64, record: &Record) -> Self {
        let reservation = record.reservation.as_ref().map(|reservation| KeptReservation {
            kind: reservation.kind as u8,
            holder: match &reservation.holder {
                Holder::AllRegistrants => None,
                Holder::One(nexus) => record.registrations.keys().position(|other| other == nexus),
            },
        });
        let registrations = record.registrations.iter().map(|(nexus, registration)| KeptRegistration {
            initiator: nexus.initiator.name.to_string(),
            isid: nexus.initiator.isid.to_string(),
            target: nexus.target.name.to_string(),
            portal_group: nexus.target.portal_group.0,
            relative_target_port: nexus.relative_target_port,
            key: registration.key.to_string(),
            all_target_ports: registration.all_target_ports,
        });
        Self {
            naa,
            sequence,
            generation: record.generation,
            aptpl: record.activate_persist,
            reservation,
            registrations: registrations.collect(),
        }
    }

    /// What contradicts itself is damaged, however good its checksum.
    fn to_record(&self) -> Result<Record, String> {
        let mut record =
            Record { generation: self.generation, activate_persist: self.aptpl, ..Record::default() };
        let mut nexuses = Vec::new();
        for kept in &self.registrations {
            let nexus = kept.nexus()?;
            let key = hex(&kept.key)?;
            if key == 0 {
                return Err(format!("{} is registered with the key zero", nexus.initiator));
            }
            let registration = Registration { key: Key(key), all_target_ports: kept.all_target_ports };
            if record.registrations.insert(nexus.clone(), registration).is_some() {
                return Err(format!("{} is registered twice", nexus.initiator));
            }
            nexuses.push(nexus);
        }
        if let Some(kept) = &self.reservation {
            let kind = ReservationType::from_bits(kept.kind).filter(|_| kept.kind < 16);
            let kind = kind.ok_or_else(|| format!("there is no reservation type {}", kept.kind))?;
            let holder = match (kind.is_all_registrants(), kept.holder) {
                (true, None) if !nexuses.is_empty() => Holder::AllRegistrants,
                (false, Some(at)) => {
                    Holder::One(nexuses.get(at).cloned().ok_or("its holder is not registered")?)
                }
                _ => return Err(format!("holder and type {} contradict each other", kept.kind)),
            };
            record.reservation = Some(Reservation { kind, holder });
        }
        Ok(record)
    }
}

impl KeptRegistration {
    fn nexus(&self) -> Result<Nexus, String> {
        let name = |text: &str| text.parse().map_err(|error| format!("{error}"));
        let [high @ .., _, _, _, _, _, _] = hex(&self.isid)?.to_be_bytes();
        if high != [0; 2] {
            return Err(format!("{:?} is not an ISID", self.isid));
        }
        let [_, _, isid @ ..] = hex(&self.isid)?.to_be_bytes();
        Ok(Nexus {
            initiator: InitiatorPort { name: name(&self.initiator)?, isid: Isid(isid) },
            target: TargetPort { name: name(&self.target)?, portal_group: PortalGroupTag(self.portal_group) },
            relative_target_port: self.relative_target_port,
        })
    }
}

/// A number as keys and ISIDs are written.
fn hex(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or_else(|| format!("{text:?} is not a hexadecimal number"))
}

#[cfg(test)]
mod tests;
