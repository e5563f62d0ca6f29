//! Looks again at what the target may have been changing.

use std::thread;
use std::time::Duration;

use crate::memory::Memory;

/// Looks, until one is not disturbed by what the target does meanwhile.
const MAX_LOOKS: u32 = 16;
/// Those that follow at once: most changes are over in no time.
const IMMEDIATE_LOOKS: u32 = 8;
/// In front of each of the others: the target's thread may have lost its CPU in the middle of a change.
const PAUSE: Duration = Duration::from_millis(1);

/// The answer of a look after which nothing `is_doubtful`, or else that of the last.
pub(super) fn look_again<T>(
    memory: &dyn Memory,
    is_doubtful: impl Fn(&T) -> bool,
    mut look: impl FnMut() -> T,
) -> T {
    for number in 1..MAX_LOOKS {
        let answer = look();
        if !is_doubtful(&answer) {
            return answer;
        }
        if number >= IMMEDIATE_LOOKS {
            thread::sleep(PAUSE);
        }
        memory.forget();
    }
    look()
}
