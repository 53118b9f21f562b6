//! The reservation conformance suite of the initiator: ours must pass all of it, tgt's results are told, and a target that lies must
//! be found out.

mod reservation_conformance {
    mod faults;
    mod program;
    mod served;
    mod targets;
}
