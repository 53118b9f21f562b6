//! Work that takes long: it shows how far it is, and ends between two steps at SIGINT or SIGTERM.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

/// Runs `work`, and sets what it is given at a signal.
///
/// # Errors
/// What `work` says.
pub(super) fn run(
    work: impl FnOnce(&AtomicBool) -> Result<(), String> + Send + 'static,
) -> Result<(), String> {
    let failed = |e: std::io::Error| e.to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let stop = Arc::new(AtomicBool::new(false));
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let asked = Arc::clone(&stop);
        let mut work = tokio::task::spawn_blocking(move || work(&asked));
        loop {
            tokio::select! {
                ended = &mut work => return ended.map_err(|e| e.to_string())?,
                _ = interrupt.recv() => stop.store(true, Ordering::Relaxed),
                _ = terminate.recv() => stop.store(true, Ordering::Relaxed),
            }
        }
    })
}

/// Before something gets its name: whether it still shall.
///
/// # Errors
/// A sentence that says that it was not made.
pub(super) fn unless_stopped(stop: &AtomicBool, path: &Path) -> Result<(), String> {
    if stop.load(Ordering::Relaxed) {
        return Err(format!("interrupted; {} was not made", path.display()));
    }
    Ok(())
}

/// On a terminal a bar, otherwise nothing.
pub(super) fn progress_bar(size: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}% {binary_bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Runs `step` with a progress that moves a bar and breaks when `stop` is set.
pub(super) fn with_progress<T>(
    size: u64,
    stop: &AtomicBool,
    step: impl FnOnce(&mut dyn FnMut(u64) -> ControlFlow<()>) -> T,
) -> T {
    let bar = progress_bar(size);
    let done = step(&mut |at| {
        bar.set_position(at);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    done
}
