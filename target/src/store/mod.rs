//! What must survive a restart: identities of LUNs.
