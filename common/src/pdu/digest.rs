//! Header and data digests, CRC32C (RFC 7143 §13.1).
