//! The signals that ask this program to end: while it owns what must not stay behind, it is told of them; afterwards, and at the second
//! one, they end it.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, `kill`, and the end of the terminal.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Lets a write beyond the limit of a file's size (`ulimit -f`) fail, and be told of, instead of ending this process.
pub(super) fn fail_at_size_limit() {
    // Where it cannot be caught all is as it was.
    let _ = flag::register(libc::SIGXFSZ, Arc::default());
}

/// A command was told to end by a signal, and has nothing to show.
#[derive(Debug, thiserror::Error)]
#[error("ended by signal {0}")]
pub(super) struct Interrupted(pub(super) i32);

impl Interrupted {
    /// Ends this process as the signal would have done, so that whoever waits for it learns of the signal.
    pub(super) fn end_process(&self) {
        // It returns for signals only that do not end a process; then the exit code tells of a failure.
        let _ = low_level::emulate_default_handler(self.0);
    }
}

/// The signals that were caught. They end nothing by themselves until they are [released](Signals::release).
#[derive(Debug)]
pub(super) struct Signals {
    streams: Vec<(i32, Signal)>,
    are_released: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn catch() -> io::Result<Self> {
        let are_released = Arc::new(AtomicBool::new(false));
        let ignored = ignored(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let mut streams = Vec::new();
        for number in ENDING {
            // Under `nohup` the terminal's end is none of our business.
            if number == SIGHUP && ignored >> (number - 1) & 1 == 1 {
                continue;
            }
            flag::register_conditional_default(number, Arc::clone(&are_released))?;
            streams.push((number, signal(SignalKind::from_raw(number))?));
        }
        Ok(Self {
            streams,
            are_released,
        })
    }

    /// Ready at the next signal, with its number.
    pub(super) async fn received(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// From here on a signal ends this process at once: there is nothing left that it would leave behind.
    pub(super) fn release(self) {
        self.are_released.store(true, Ordering::SeqCst);
    }
}

/// The signals that are ignored, one bit each, from the least one for signal 1 on (`SigIgn` in proc_pid_status(5)).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::ignored;

    #[test]
    fn ignored_signals_are_a_mask() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored("SigIgn:\tx\n"), 0);
        assert_eq!(ignored(""), 0);
    }
}
