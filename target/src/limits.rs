//! Every bound of the target, with its reason.
