//! Random PDUs for property tests: every header that a codec accepts.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;

use super::async_message::AsyncEvent;
use super::data_in::DataInStatus;
use super::login::{LoginStatus, Stage};
use super::logout::{LogoutReason, LogoutResult};
use super::reject::RejectReason;
use super::scsi_command::TaskAttribute;
use super::scsi_response::{Residual, ServiceResponse};
use super::snack::SnackKind;
use super::task_management::{TaskManagementFunction, TaskManagementResult};
use super::*;
use crate::name::{Cid, Isid, Tsih};
use crate::scsi::{Lun, Status};
use crate::serial::{CmdSn, DataSn, R2tSn, StatSn};

fn lun() -> impl Strategy<Value = Lun> {
    any::<u64>().prop_map(Lun)
}
fn itt() -> impl Strategy<Value = InitiatorTaskTag> {
    any::<u32>().prop_map(InitiatorTaskTag)
}
fn ttt() -> impl Strategy<Value = TargetTransferTag> {
    any::<u32>().prop_map(TargetTransferTag)
}
fn cmd_sn() -> impl Strategy<Value = CmdSn> {
    any::<u32>().prop_map(CmdSn)
}
fn stat_sn() -> impl Strategy<Value = StatSn> {
    any::<u32>().prop_map(StatSn)
}
fn data_sn() -> impl Strategy<Value = DataSn> {
    any::<u32>().prop_map(DataSn)
}
fn residual() -> impl Strategy<Value = Residual> {
    prop_oneof![
        Just(Residual::None),
        any::<u32>().prop_map(Residual::Overflow),
        any::<u32>().prop_map(Residual::Underflow)
    ]
}
fn status() -> impl Strategy<Value = Status> {
    (0..=0xffu8).prop_filter_map("undefined", Status::from_byte)
}

/// T, C, CSG, NSG.
fn stages() -> impl Strategy<Value = (bool, bool, Stage, Stage)> {
    use Stage::*;
    select(vec![
        (false, false, SecurityNegotiation, SecurityNegotiation),
        (false, true, SecurityNegotiation, SecurityNegotiation),
        (false, true, OperationalNegotiation, OperationalNegotiation),
        (true, false, SecurityNegotiation, OperationalNegotiation),
        (true, false, SecurityNegotiation, FullFeaturePhase),
        (true, false, OperationalNegotiation, FullFeaturePhase),
    ])
}

/// F, C.
fn text_flags() -> impl Strategy<Value = (bool, bool)> {
    select(vec![(false, false), (true, false), (false, true)])
}

pub(super) fn scsi_command() -> impl Strategy<Value = ScsiCommand> {
    use TaskAttribute::*;
    let attribute = select(vec![Untagged, Simple, Ordered, HeadOfQueue, Aca]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), attribute);
    (flags, lun(), itt(), any::<u32>(), cmd_sn(), stat_sn(), any::<[u8; 16]>()).prop_map(
        |((immediate, is_final, read, write, attribute), lun, itt, len, cmd_sn, exp_stat_sn, cdb)| {
            ScsiCommand {
                immediate,
                is_final: is_final || !write,
                read,
                write,
                attribute,
                lun,
                itt,
                expected_data_transfer_length: if read || write { len } else { 0 },
                cmd_sn,
                exp_stat_sn,
                cdb,
            }
        },
    )
}

pub(super) fn initiator_header() -> impl Strategy<Value = InitiatorHeader> {
    use TaskManagementFunction as F;
    let nop = (any::<bool>(), lun(), itt(), ttt(), cmd_sn(), stat_sn()).prop_map(
        |(immediate, lun, itt, ttt, cmd_sn, exp_stat_sn)| NopOut {
            immediate,
            lun,
            itt,
            ttt,
            cmd_sn,
            exp_stat_sn,
        },
    );
    let task = (any::<bool>(), 0..0x80u8, lun(), itt(), itt(), cmd_sn(), stat_sn(), cmd_sn(), data_sn())
        .prop_map(
            |(
                immediate,
                code,
                lun,
                itt,
                referenced_task_tag,
                cmd_sn,
                exp_stat_sn,
                ref_cmd_sn,
                exp_data_sn,
            )| {
                TaskManagementRequest {
                    immediate,
                    function: F::from_code(code),
                    lun,
                    itt,
                    referenced_task_tag,
                    cmd_sn,
                    exp_stat_sn,
                    ref_cmd_sn,
                    exp_data_sn,
                }
            },
        );
    let login = (stages(), any::<(u8, u8, [u8; 6], u16, u16)>(), itt(), cmd_sn(), stat_sn()).prop_map(
        |(
            (transit, continues, current_stage, next_stage),
            (max, min, isid, tsih, cid),
            itt,
            cmd_sn,
            exp_stat_sn,
        )| {
            LoginRequest {
                transit,
                continues,
                current_stage,
                next_stage,
                version_max: max,
                version_min: min,
                isid: Isid(isid),
                tsih: Tsih(tsih),
                itt,
                cid: Cid(cid),
                cmd_sn,
                exp_stat_sn,
            }
        },
    );
    let text = (any::<bool>(), text_flags(), lun(), itt(), ttt(), cmd_sn(), stat_sn()).prop_map(
        |(immediate, (is_final, continues), lun, itt, ttt, cmd_sn, exp_stat_sn)| TextRequest {
            immediate,
            is_final,
            continues,
            lun,
            itt,
            ttt,
            cmd_sn,
            exp_stat_sn,
        },
    );
    let data = (any::<bool>(), lun(), itt(), ttt(), stat_sn(), data_sn(), any::<u32>()).prop_map(
        |(is_final, lun, itt, ttt, exp_stat_sn, data_sn, buffer_offset)| DataOut {
            is_final,
            lun,
            itt,
            ttt,
            exp_stat_sn,
            data_sn,
            buffer_offset,
        },
    );
    let reason = select(vec![
        LogoutReason::CloseSession,
        LogoutReason::CloseConnection,
        LogoutReason::RemoveForRecovery,
    ]);
    let logout = (any::<bool>(), reason, itt(), any::<u16>(), cmd_sn(), stat_sn()).prop_map(
        |(immediate, reason, itt, cid, cmd_sn, exp_stat_sn)| LogoutRequest {
            immediate,
            reason,
            itt,
            cid: Cid(cid),
            cmd_sn,
            exp_stat_sn,
        },
    );
    let kind = select(vec![SnackKind::DataOrR2t, SnackKind::Status, SnackKind::DataAck, SnackKind::RData]);
    let snack = (kind, lun(), itt(), ttt(), stat_sn(), any::<u32>(), any::<u32>()).prop_map(
        |(kind, lun, itt, ttt, exp_stat_sn, beg_run, run_length)| SnackRequest {
            kind,
            lun,
            itt,
            ttt,
            exp_stat_sn,
            beg_run,
            run_length,
        },
    );
    prop_oneof![
        nop.prop_map(Into::into),
        scsi_command().prop_map(Into::into),
        task.prop_map(Into::into),
        login.prop_map(Into::into),
        text.prop_map(Into::into),
        data.prop_map(Into::into),
        logout.prop_map(Into::into),
        snack.prop_map(Into::into),
    ]
}

pub(super) fn target_header() -> impl Strategy<Value = TargetHeader> {
    let numbers = || (stat_sn(), cmd_sn(), cmd_sn());
    let nop =
        (lun(), itt(), ttt(), numbers()).prop_map(|(lun, itt, ttt, (stat_sn, exp_cmd_sn, max_cmd_sn))| {
            NopIn { lun, itt, ttt, stat_sn, exp_cmd_sn, max_cmd_sn }
        });
    let service = prop_oneof![
        3 => Just(ServiceResponse::CommandCompleted),
        1 => Just(ServiceResponse::TargetFailure),
        1 => (0x80..=0xffu8).prop_map(ServiceResponse::Vendor)
    ];
    let response = (residual(), residual(), service, status(), itt(), any::<u32>(), numbers(), data_sn())
        .prop_map(
            |(residual, bidirectional_residual, response, status, itt, snack_tag, numbers, exp_data_sn)| {
                let completed = response == ServiceResponse::CommandCompleted;
                ScsiResponse {
                    residual,
                    bidirectional_residual,
                    response,
                    status: if completed { status } else { Status::CheckCondition },
                    itt,
                    snack_tag,
                    stat_sn: numbers.0,
                    exp_cmd_sn: numbers.1,
                    max_cmd_sn: numbers.2,
                    exp_data_sn,
                }
            },
        );
    use TaskManagementResult as R;
    let results = select(vec![
        R::FunctionComplete,
        R::TaskDoesNotExist,
        R::LunDoesNotExist,
        R::TaskStillAllegiant,
        R::ReassignmentNotSupported,
        R::NotSupported,
        R::AuthorizationFailed,
        R::Rejected,
    ]);
    let task = (results, itt(), numbers()).prop_map(|(response, itt, (stat_sn, exp_cmd_sn, max_cmd_sn))| {
        TaskManagementResponse { response, itt, stat_sn, exp_cmd_sn, max_cmd_sn }
    });
    let login =
        (stages(), any::<(u8, u8, [u8; 6], u16)>(), itt(), numbers(), select(LoginStatus::ALL.to_vec()))
            .prop_map(
                |(
                    (transit, continues, current_stage, next_stage),
                    (max, active, isid, tsih),
                    itt,
                    sn,
                    status,
                )| {
                    LoginResponse {
                        transit,
                        continues,
                        current_stage,
                        next_stage,
                        version_max: max,
                        version_active: active,
                        isid: Isid(isid),
                        tsih: Tsih(tsih),
                        itt,
                        stat_sn: sn.0,
                        exp_cmd_sn: sn.1,
                        max_cmd_sn: sn.2,
                        status,
                    }
                },
            );
    let text = (text_flags(), lun(), itt(), ttt(), numbers()).prop_map(
        |((is_final, continues), lun, itt, ttt, (stat_sn, exp_cmd_sn, max_cmd_sn))| TextResponse {
            is_final,
            continues,
            lun,
            itt,
            ttt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
        },
    );
    let no_sense = status().prop_filter("needs sense", |&status| status != Status::CheckCondition);
    let in_status = prop::option::of((no_sense, residual()))
        .prop_map(|status| status.map(|(status, residual)| DataInStatus { status, residual }));
    let data = (any::<(bool, bool)>(), in_status, lun(), itt(), ttt(), numbers(), data_sn(), any::<u32>())
        .prop_map(|((is_final, acknowledge), status, lun, itt, ttt, sn, data_sn, buffer_offset)| DataIn {
            is_final: is_final || status.is_some(),
            acknowledge,
            status,
            lun,
            itt,
            ttt,
            stat_sn: if status.is_some() { sn.0 } else { StatSn(0) },
            exp_cmd_sn: sn.1,
            max_cmd_sn: sn.2,
            data_sn,
            buffer_offset,
        });
    let result = select(vec![
        LogoutResult::Closed,
        LogoutResult::CidNotFound,
        LogoutResult::RecoveryNotSupported,
        LogoutResult::CleanupFailed,
    ]);
    let logout = (result, itt(), numbers(), any::<(u16, u16)>()).prop_map(|(response, itt, sn, times)| {
        LogoutResponse {
            response,
            itt,
            stat_sn: sn.0,
            exp_cmd_sn: sn.1,
            max_cmd_sn: sn.2,
            time2wait: times.0,
            time2retain: times.1,
        }
    });
    let r2t = (lun(), itt(), 0..u32::MAX, numbers(), any::<u32>(), any::<u32>(), 1..=u32::MAX).prop_map(
        |(lun, itt, ttt, sn, r2t_sn, buffer_offset, desired_data_transfer_length)| R2t {
            lun,
            itt,
            ttt: TargetTransferTag(ttt),
            stat_sn: sn.0,
            exp_cmd_sn: sn.1,
            max_cmd_sn: sn.2,
            r2t_sn: R2tSn(r2t_sn),
            buffer_offset,
            desired_data_transfer_length,
        },
    );
    let message = (any::<(u8, u8, u16, u16, u16)>(), lun(), numbers()).prop_map(
        |((event, vendor_code, p1, p2, p3), lun, sn)| AsyncMessage {
            event: AsyncEvent::from_code(event),
            vendor_code,
            lun,
            stat_sn: sn.0,
            exp_cmd_sn: sn.1,
            max_cmd_sn: sn.2,
            parameter1: p1,
            parameter2: p2,
            parameter3: p3,
        },
    );
    let reject =
        (select(RejectReason::ALL.to_vec()), numbers(), data_sn()).prop_map(|(reason, sn, data_sn)| Reject {
            reason,
            stat_sn: sn.0,
            exp_cmd_sn: sn.1,
            max_cmd_sn: sn.2,
            data_sn,
        });
    prop_oneof![
        nop.prop_map(Into::into),
        response.prop_map(Into::into),
        task.prop_map(Into::into),
        login.prop_map(Into::into),
        text.prop_map(Into::into),
        data.prop_map(Into::into),
        logout.prop_map(Into::into),
        r2t.prop_map(Into::into),
        message.prop_map(Into::into),
        reject.prop_map(Into::into),
    ]
}

fn small_bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), range).prop_map(Bytes::from)
}

/// Chains with each known type at most once.
pub(super) fn ahs_chain() -> impl Strategy<Value = Vec<Ahs>> {
    let cdb = prop::option::of(small_bytes(1..245).prop_map(Ahs::ExtendedCdb));
    let read = prop::option::of(any::<u32>().prop_map(Ahs::BidirectionalReadLength));
    let other = prop::option::of(
        (3..0x40u8, small_bytes(1..40)).prop_map(|(kind, body)| Ahs::Unknown { kind, body }),
    );
    (cdb, read, other).prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
}

/// Whole PDUs of an initiator, with segments where their type has them.
pub(super) fn initiator_pdu() -> impl Strategy<Value = InitiatorPdu> {
    (initiator_header(), ahs_chain(), small_bytes(0..70)).prop_map(|(header, ahs, data)| Pdu {
        ahs: if header.has_ahs() { ahs } else { Vec::new() },
        data: if header.has_data_segment() { data } else { Bytes::new() },
        header,
    })
}
