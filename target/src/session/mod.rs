//! An iSCSI session as a state machine (RFC 7143 §4.2, §7): PDUs in, events and PDUs out. No I/O, no clock.
