//! The walk over memory in which nothing moves: that of a core file, of an image, or of a process at rest.

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::SliceStatus;
use awaitwhat_walker::{Flow, Host, Record, Walk};

use crate::memory::{Address, Memory};

/// Steps of a pass. It takes some hundreds of steps for a task.
const MAX_STEPS: u64 = 1 << 26;

/// One pass over all tasks of `plan`: its records, as the kernel's programs send them, and how it ended; `None` where it did not.
pub fn walk(memory: &dyn Memory, layout: &Layout, plan: &ThreadPlan) -> (Vec<Vec<u8>>, Option<SliceStatus>) {
    let mut host = Still {
        memory,
        records: Vec::new(),
    };
    let mut walk = Walk::NEW;
    walk.begin_slice(layout, plan, false, 0, 0, 0);
    for _ in 0..MAX_STEPS {
        if let Flow::Done(status) = walk.step(layout, plan, &mut host) {
            return (host.records, Some(status));
        }
    }
    (host.records, None)
}

struct Still<'a> {
    memory: &'a dyn Memory,
    records: Vec<Vec<u8>>,
}

impl Host for Still<'_> {
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64> {
        let Some(window) = window else {
            return self.memory.read_u64(Address(address)).ok();
        };
        let mut bytes = [0; WINDOW_WORDS * 8];
        // As much as there is before the memory ends.
        let is_readable = (1..=WINDOW_WORDS).rev().any(|words| {
            let (head, tail) = bytes.split_at_mut(words * 8);
            tail.fill(0);
            self.memory.read(Address(address), head).is_ok()
        });
        let (words, _) = bytes.as_chunks::<8>();
        for (word, bytes) in window.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        is_readable.then_some(window[0])
    }

    fn is_undisturbed(&mut self) -> bool {
        true
    }

    fn is_over_budget(&mut self) -> bool {
        false
    }

    fn emit(&mut self, record: &Record) -> bool {
        self.records
            .push(record.words().flat_map(u64::to_le_bytes).collect());
        true
    }
}
