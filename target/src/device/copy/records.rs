//! What is kept of copies under their list identifiers, for the RECEIVE COPY commands (SPC-4 §5.16.4).
//!
//! A list identifier belongs to the nexus that used it. What is kept of a copy that ended goes when its status was told (LID1), when the
//! identifier is used again, when the nexus is lost, and when there are too many. One that runs is never forgotten.

use std::collections::VecDeque;

use lunkeep_common::scsi::Status;
use lunkeep_common::scsi::third_party_copy::{CopyStatus, RodToken, RodTokenInformation, TransferCount};

use super::super::step::{NexusId, TaskId};
use super::CopyTotals;
use crate::limits::COPY_RECORDS_MAX;

/// A list identifier of one of the two lengths, which have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ListId {
    /// EXTENDED COPY(LID1).
    One(u8),
    /// The token commands.
    Four(u32),
}

#[derive(Debug)]
struct Record {
    nexus: NexusId,
    list: ListId,
    /// While it runs.
    task: Option<TaskId>,
    service_action: u8,
    totals: CopyTotals,
    status: CopyStatus,
    completion: Status,
    sense: Vec<u8>,
    token: Option<Box<RodToken>>,
    /// RECEIVE COPY STATUS(LID1) has told the end.
    told: bool,
}

/// The records of a logical unit, oldest first.
#[derive(Debug, Default)]
pub(in super::super) struct CopyRecords {
    records: VecDeque<Record>,
}

impl CopyRecords {
    /// A copy begins; false when one runs under the same list identifier.
    pub(super) fn begin(&mut self, nexus: NexusId, list: ListId, task: TaskId, service_action: u8) -> bool {
        let same = |record: &Record| (record.nexus, record.list) == (nexus, list);
        if self.records.iter().any(|record| same(record) && record.task.is_some()) {
            return false;
        }
        self.records.retain(|record| !same(record));
        if self.records.len() >= COPY_RECORDS_MAX
            && let Some(ended) = self.records.iter().position(|record| record.task.is_none())
        {
            self.records.remove(ended);
        }
        self.records.push_back(Record {
            nexus,
            list,
            task: Some(task),
            service_action,
            totals: CopyTotals::default(),
            status: CopyStatus::InProgress,
            completion: Status::Good,
            sense: Vec::new(),
            token: None,
            told: false,
        });
        true
    }

    pub(super) fn progress(&mut self, task: TaskId, totals: CopyTotals) {
        if let Some(record) = self.running(task) {
            record.totals = totals;
        }
    }

    pub(super) fn end(
        &mut self,
        task: TaskId,
        status: CopyStatus,
        completion: Status,
        sense: Vec<u8>,
        token: Option<RodToken>,
    ) {
        if let Some(record) = self.running(task) {
            record.task = None;
            (record.status, record.completion, record.sense) = (status, completion, sense);
            record.token = token.map(Box::new);
        }
    }

    /// The copy was refused before anything of it was done.
    pub(super) fn never_begun(&mut self, task: TaskId) {
        self.records.retain(|record| record.task != Some(task));
    }

    fn running(&mut self, task: TaskId) -> Option<&mut Record> {
        self.records.iter_mut().find(|record| record.task == Some(task))
    }

    fn find(&self, nexus: NexusId, list: ListId) -> Option<&Record> {
        self.records.iter().find(|record| (record.nexus, record.list) == (nexus, list))
    }

    /// A nexus is lost. Copies of it that still run are on their way to their end.
    pub(in super::super) fn forget(&mut self, nexus: NexusId) {
        self.records.retain(|record| record.nexus != nexus);
    }

    /// For RECEIVE COPY STATUS(LID1).
    pub(in super::super) fn status(&self, nexus: NexusId, list: u8) -> Option<TransferCount> {
        let record = self.find(nexus, ListId::One(list)).filter(|record| !record.told)?;
        Some(TransferCount { status: record.status, ..record.totals.into() })
    }

    /// The status was told: when it was the end, it is told once (SPC-4 §6.25). What failed is told until it was asked for.
    pub(in super::super) fn status_told(&mut self, nexus: NexusId, list: u8) {
        let list = ListId::One(list);
        let ended = |record: &Record| (record.nexus, record.list) == (nexus, list) && record.task.is_none();
        if let Some(record) = self.records.iter_mut().find(|record| ended(record)) {
            record.told = true;
        }
        self.records.retain(|record| !(ended(record) && record.status == CopyStatus::Completed));
    }

    /// For RECEIVE COPY FAILURE DETAILS(LID1): the sense data of a copy that failed, nothing of one that did not; `None` when there is
    /// no such copy, or it runs.
    pub(in super::super) fn failure(&self, nexus: NexusId, list: u8) -> Option<Option<&[u8]>> {
        let record = self.find(nexus, ListId::One(list)).filter(|record| record.task.is_none())?;
        Some((record.status == CopyStatus::Failed).then_some(record.sense.as_slice()))
    }

    /// For RECEIVE ROD TOKEN INFORMATION.
    pub(in super::super) fn token_information(
        &self,
        nexus: NexusId,
        list: u32,
        block: u32,
    ) -> Option<RodTokenInformation> {
        let record = self.find(nexus, ListId::Four(list))?;
        Some(RodTokenInformation {
            service_action: record.service_action,
            status: record.status,
            completion: record.completion as u8,
            sense: record.sense.clone(),
            blocks: record.totals.bytes / u64::from(block.max(1)),
            token: record.token.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NexusId = NexusId(1);

    #[test]
    fn an_identifier_is_busy_while_its_copy_runs_and_belongs_to_its_nexus() {
        let mut records = CopyRecords::default();
        assert!(records.begin(ONE, ListId::One(7), TaskId(1), 0));
        assert!(!records.begin(ONE, ListId::One(7), TaskId(2), 0));
        assert!(records.begin(NexusId(2), ListId::One(7), TaskId(3), 0));
        assert!(records.begin(ONE, ListId::Four(7), TaskId(4), 0x10));
        records.end(TaskId(1), CopyStatus::Completed, Status::Good, Vec::new(), None);
        assert!(records.begin(ONE, ListId::One(7), TaskId(5), 0));
        assert_eq!(records.status(ONE, 7).unwrap().status, CopyStatus::InProgress);
        records.forget(ONE);
        assert!(records.status(ONE, 7).is_none() && records.status(NexusId(2), 7).is_some());
    }

    #[test]
    fn the_end_is_told_once_and_a_failure_until_it_is_replaced() {
        let mut records = CopyRecords::default();
        for (task, status, sense) in [(1, CopyStatus::Completed, vec![]), (2, CopyStatus::Failed, vec![9])] {
            assert!(records.begin(ONE, ListId::One(7), TaskId(task), 0));
            assert_eq!(records.failure(ONE, 7), None, "it runs");
            records.status_told(ONE, 7);
            records.end(TaskId(task), status, Status::Good, sense, None);
            assert_eq!(records.status(ONE, 7).unwrap().status, status);
            records.status_told(ONE, 7);
            assert_eq!(records.status(ONE, 7), None);
        }
        assert_eq!(records.failure(ONE, 7), Some(Some([9].as_slice())));
    }

    #[test]
    fn the_oldest_that_ended_goes_when_there_are_too_many() {
        let mut records = CopyRecords::default();
        for id in 0..COPY_RECORDS_MAX as u64 + 1 {
            let list = ListId::Four(u32::try_from(id).unwrap());
            assert!(records.begin(ONE, list, TaskId(id), 0x10));
            if id != 0 {
                records.end(TaskId(id), CopyStatus::Completed, Status::Good, Vec::new(), None);
            }
        }
        assert_eq!(records.records.len(), COPY_RECORDS_MAX);
        let told = |id| records.token_information(ONE, id, 512).is_some();
        assert_eq!((told(0), told(1), told(2)), (true, false, true), "the first one still runs");
    }
}
