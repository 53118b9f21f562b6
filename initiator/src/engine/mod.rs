//! The tokio adapter: dialling, timers, the state folder.
