//! Jobs that threads are at, and that stand in line for them; and what several looks at these agree about.

use std::collections::HashMap;

use super::thread_frames::ThreadFrame;
use crate::memory::Address;

/// A pool of threads, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// How many threads it may have.
    pub size: Option<u64>,
    /// What its threads' names begin with.
    pub prefix: Option<String>,
}

/// A job that a thread works at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningJob {
    /// Address of the thread's `PyThreadState`.
    pub thread: Address,
    /// What the thread calls itself; 0 where that is not known.
    pub tid: u32,
    /// What the program calls it (`threading.Thread.name`).
    pub thread_name: Option<String>,
    /// What it was given to call.
    pub function: Option<String>,
    /// The job's frames, innermost first; empty of one that runs no Python code.
    pub frames: Vec<ThreadFrame>,
    /// Frames in the middle that are left out.
    pub left_out: u32,
    /// The thread went on while it was read: further frames, or where the innermost one is, are not known.
    pub is_moving: bool,
    pub pool: Option<Pool>,
}

/// A job that no thread has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedJob {
    /// Address of its `_WorkItem`.
    pub item: Address,
    /// How many that nobody has cancelled come before it, and how many there are in all.
    pub before: u64,
    pub in_line: u64,
    pub pool: Option<Pool>,
}

/// What one look at all threads has found, by the futures of `concurrent.futures`.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    pub running: HashMap<Address, RunningJob>,
    pub queued: HashMap<Address, QueuedJob>,
    /// Threads that could not be read.
    pub torn: u64,
    /// A bound was hit: there may be more.
    pub is_cut: bool,
}

impl Workers {
    /// What this look and a later one agree about: true of threads that run, too. Of a thread that went on, the outer frames that are the same.
    #[must_use]
    pub fn agreeing(mut self, later: &Self) -> Self {
        self.running.retain(|job, running| match later.running.get(job) {
            Some(other) if running.thread == other.thread => {
                running.agree(other);
                true
            }
            _ => false,
        });
        self.queued
            .retain(|job, queued| later.queued.get(job) == Some(queued));
        self.is_cut |= later.is_cut;
        self
    }
}

impl Workers {
    /// Adds what others have found that is not known yet.
    pub fn add(&mut self, other: Self) {
        for (job, running) in other.running {
            self.running.entry(job).or_insert(running);
        }
        for (job, queued) in other.queued {
            self.queued.entry(job).or_insert(queued);
        }
        self.is_cut |= other.is_cut;
    }
}

impl RunningJob {
    fn agree(&mut self, later: &Self) {
        keep_equal(&mut self.function, &later.function);
        keep_equal(&mut self.thread_name, &later.thread_name);
        keep_equal(&mut self.pool, &later.pool);
        if (&self.frames, self.left_out) == (&later.frames, later.left_out) {
            return;
        }
        self.is_moving = true;
        if self.left_out > 0 || later.left_out > 0 {
            self.frames.clear();
            self.left_out = 0;
            return;
        }
        let from_outside = self.frames.iter().rev().zip(later.frames.iter().rev());
        let mut kept: Vec<ThreadFrame> = Vec::new();
        for (one, other) in from_outside {
            if one == other {
                kept.push(*one);
                continue;
            }
            if (one.frame, one.code) == (other.frame, other.code) {
                kept.push(ThreadFrame {
                    instruction: Address::NULL,
                    ..*one
                });
            }
            break;
        }
        kept.reverse();
        self.frames = kept;
    }
}

/// Leaves nothing of what a later look says otherwise.
fn keep_equal<T: PartialEq>(one: &mut Option<T>, later: &Option<T>) {
    if one != later {
        *one = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, instruction: u64) -> ThreadFrame {
        ThreadFrame {
            frame: Address(number),
            code: Address(number + 1),
            instruction: Address(instruction),
        }
    }

    fn job(frames: &[ThreadFrame]) -> RunningJob {
        RunningJob {
            thread: Address(0x10),
            tid: 7,
            thread_name: Some("reports_0".to_owned()),
            function: Some("work".to_owned()),
            frames: frames.to_vec(),
            left_out: 0,
            is_moving: false,
            pool: None,
        }
    }

    fn look(job: RunningJob) -> Workers {
        Workers {
            running: HashMap::from([(Address(1), job)]),
            ..Workers::default()
        }
    }

    fn agreed(one: RunningJob, other: RunningJob) -> Option<RunningJob> {
        look(one).agreeing(&look(other)).running.remove(&Address(1))
    }

    #[test]
    fn of_a_thread_that_goes_on_the_outer_frames_are_told() {
        let same = job(&[frame(0x20, 5), frame(0x30, 6)]);
        assert_eq!(agreed(same.clone(), same.clone()), Some(same.clone()));
        // It has called on, and come to another place of a function that it is still in.
        let later = job(&[frame(0x50, 1), frame(0x20, 9), frame(0x30, 6)]);
        let both = agreed(same.clone(), later).expect("it is the same job");
        assert!(both.is_moving);
        assert_eq!(both.frames, [frame(0x20, 0), frame(0x30, 6)]);
        let elsewhere = job(&[frame(0x60, 5)]);
        let both = agreed(same.clone(), elsewhere).expect("it is the same job");
        assert!(both.is_moving && both.frames.is_empty());
        let of_another_thread = RunningJob {
            thread: Address(0x18),
            ..same.clone()
        };
        assert_eq!(agreed(same.clone(), of_another_thread), None);
        let renamed = RunningJob {
            thread_name: None,
            ..same.clone()
        };
        assert_eq!(agreed(same, renamed).and_then(|job| job.thread_name), None);
    }

    #[test]
    fn a_place_in_the_line_is_told_where_it_is_the_same_twice() {
        let queued = |before| Workers {
            queued: HashMap::from([(
                Address(1),
                QueuedJob {
                    item: Address(8),
                    before,
                    in_line: 4,
                    pool: None,
                },
            )]),
            ..Workers::default()
        };
        assert_eq!(queued(3).agreeing(&queued(3)).queued.len(), 1);
        assert!(queued(3).agreeing(&queued(2)).queued.is_empty());
    }
}
