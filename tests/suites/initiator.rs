//! The initiator, program and library, against our own target and against Debian's tgt: the same properties for both.

mod initiator {
    pub(crate) mod bench;
    mod commands;
    mod faults;
    mod library;
    mod load;
}
