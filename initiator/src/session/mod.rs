//! An iSCSI session from the initiator's side as a state machine. No I/O, no clock.
