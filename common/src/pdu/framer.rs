//! Cuts a byte stream into whole, digest-checked PDUs (RFC 7143 §11.2).
