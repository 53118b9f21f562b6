//! The command window: which CmdSN a target expects and how many more commands it takes (RFC 7143 §4.2.2.1).
