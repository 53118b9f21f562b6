//! The tokio adapter: listener, connections, media operations, files, timers.
