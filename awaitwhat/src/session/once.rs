//! One snapshot: a pass over all tasks of every event loop.

use std::time::{Duration, Instant};

use awaitwhat_common::status::SliceStatus;

use super::Options;
use super::assemble::{Gathering, assemble};
use super::observer::{AttachError, Observer, Seen};
use crate::capture::CaptureError;
use crate::decode::SliceRecord;
use crate::snapshot::Snapshot;

/// A thread that keeps running is sampled once per so much of its CPU time, in ns.
const BUSY_PERIOD: u64 = 1_000_000;
/// How long the observer waits for such a thread to get on.
const PAUSE: Duration = Duration::from_millis(1);
/// A registry that contradicts itself so often, while its thread does not run, will not mend itself.
const MAX_TORN: u32 = 100;
/// A pass that is not complete after so long is given as far as it is, and counted as incomplete.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads every task once.
pub(super) async fn snapshot(pid: u32, options: &Options) -> Result<Snapshot, AttachError> {
    let mut observer = Observer::attach(pid, options)?;
    let captured_at = jiff::Timestamp::now();
    let mut gathered = Vec::new();
    let mut is_proven = true;
    let threads: Vec<u32> = observer.loops.plans.iter().map(|plan| plan.tid).collect();
    for tid in threads {
        match one_pass(&mut observer, tid).await {
            Ok((gathering, proven)) => {
                is_proven &= proven;
                gathered.push(gathering);
            }
            // The thread has ended, and its loop with it.
            Err(AttachError::Capture(CaptureError::Gone)) => {}
            Err(error) => return Err(error),
        }
    }
    assemble(&mut observer, gathered, captured_at, is_proven)
}

/// How often a registry contradicted itself since its thread ran last.
#[derive(Default)]
struct Torn {
    in_a_row: u32,
    runtime: u64,
}

impl Torn {
    fn count(&mut self, slice: &SliceRecord) {
        let is_again = slice.status == SliceStatus::RegistryTorn && slice.origin.runtime == self.runtime;
        self.in_a_row = if is_again { self.in_a_row + 1 } else { 0 };
        self.runtime = slice.origin.runtime;
    }
}

/// Walks the tasks of one thread. A thread that rests is walked by the iterator in one go; one that runs is sampled in its own
/// context, slice by slice. Both go on until either has made a complete pass.
///
/// Also tells whether the thread has provably not run since its pass.
async fn one_pass(observer: &mut Observer, tid: u32) -> Result<(Gathering, bool), AttachError> {
    let mut at_rest = Gathering::default();
    let mut in_context = Gathering::default();
    let started = Instant::now();
    let mut is_sampling = false;
    let mut torn = Torn::default();
    loop {
        observer.capture.walk(tid)?;
        let mut last = None;
        let result = observer.drain(|seen| match seen {
            Seen::Task(record, chain) if record.origin.in_context => in_context.visit(&record, chain),
            Seen::Task(record, chain) => at_rest.visit(&record, chain),
            Seen::Slice(slice) if slice.origin.in_context => in_context.slice(&slice),
            Seen::Slice(slice) => {
                last = Some(slice.status);
                torn.count(&slice);
                at_rest.slice(&slice);
            }
        });
        result.map_err(|fault| AttachError::Find(fault.into()))?;
        let is_complete = at_rest.is_complete || in_context.is_complete;
        if is_complete || torn.in_a_row > MAX_TORN || started.elapsed() > PATIENCE {
            break;
        }
        match last {
            Some(SliceStatus::Budget) => {}
            _ => {
                if !is_sampling {
                    observer.capture.start_sampling(tid, BUSY_PERIOD)?;
                    is_sampling = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    observer.capture.stop_sampling(tid);
    if at_rest.is_complete {
        observer.capture.walk(tid)?;
        let mut is_unchanged = false;
        let result = observer.drain(|seen| {
            if let Seen::Slice(slice) = seen {
                is_unchanged |= slice.status == SliceStatus::Unchanged;
            }
        });
        result.map_err(|fault| AttachError::Find(fault.into()))?;
        return Ok((at_rest, is_unchanged));
    }
    if !in_context.is_complete {
        observer.losses.incomplete += 1;
    }
    let fuller = if in_context.is_complete || in_context.tasks() >= at_rest.tasks() {
        in_context
    } else {
        at_rest
    };
    Ok((fuller, false))
}
