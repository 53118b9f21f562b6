//! What a hostile, broken or careless peer can do to a running target: end its own connection, and nothing else.
//!
//! Every test has a bystander: a session on another LUN that writes and verifies all the while. At the end it must have seen no error
//! and made progress, the process must run and must not have panicked, and its memory must be bounded.

mod robustness {
    mod bystander;
    mod flood;
    mod hostile;
    mod login;
    mod startup;
}
