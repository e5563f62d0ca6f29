//! Event loops that sleep while tasks of theirs could go on: whatever made these ready has not woken the loop.
//!
//! A loop waits in `select` until something wakes it. `call_soon`, and with it every future that is done, puts a callback in line and wakes nobody, as
//! it is meant for the loop's own thread; `call_soon_threadsafe` also writes to the loop's socket (`Lib/asyncio/base_events.py` and
//! `selector_events.py`, 3.7 to 3.15). So a future that another thread sets leaves its tasks ready, and the loop asleep until its next timer.

use std::time::{Duration, Instant};

use super::rests::Runs;
use crate::findings::{Finding, Mentioned, NeverWoken};
use crate::processes::Processes;
use crate::snapshot::{Task, TaskState};

/// How long a loop has to have slept on: a thread that is woken gets a CPU within a moment, or says that it waits for one.
const APART: Duration = Duration::from_millis(100);
/// The kernel's letter for a thread that waits for something (proc_pid_stat(5)).
const SLEEPING: char = 'S';

/// A loop that polled before its tasks were read.
pub(super) struct Polling {
    pub(super) tid: u32,
    /// How often and how long its thread had run by then.
    pub(super) runs: Runs,
    pub(super) at: Instant,
}

/// Those of the loops of process `pid` that still sleep, as they did before `tasks` were read, though some of these could go on.
pub(super) async fn never_woken(pid: u32, polling: &[Polling], tasks: &[Task]) -> Vec<Finding> {
    let mut found = Vec::new();
    for polling in polling {
        let is_ready = |task: &&Task| task.tid == Some(polling.tid) && task.state == TaskState::Ready;
        let ready = Mentioned::of(tasks.iter().filter(is_ready));
        if ready.count == 0 || !polling.sleeps(pid) {
            continue;
        }
        tokio::time::sleep((polling.at + APART).saturating_duration_since(Instant::now())).await;
        if polling.sleeps(pid) {
            found.push(Finding::NeverWoken(NeverWoken {
                tid: polling.tid,
                seconds: polling.at.elapsed().as_secs_f64(),
                ready,
            }));
        }
    }
    found
}

impl Polling {
    /// Whether the thread sleeps, and has not run since.
    fn sleeps(&self, pid: u32) -> bool {
        Processes::default().thread_state(pid, self.tid) == Some(SLEEPING)
            && Runs::of(pid, self.tid) == Some(self.runs)
    }
}
