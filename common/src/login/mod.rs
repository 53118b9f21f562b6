//! The login phase, both sides: stages, negotiation, authentication (RFC 7143 §6, §9.2, §11.12, §11.13).
