//! Text keys: grammar, the table of every key, and lists of pairs (RFC 7143 §6, §12, §13).
