//! What the walker needs from where it runs.

use awaitwhat_common::limits::WINDOW_WORDS;

use crate::record::Record;

/// Where a walk runs: inside the kernel, or over a memory image.
///
/// Lifetimes: a host lives for one slice, during which the target's memory does not change, or a change is found out by
/// [`Host::is_undisturbed`]. A [`crate::Walk`] outlives its hosts: it carries the position from slice to slice.
pub trait Host {
    /// Fills `window` with the memory from `address` (a multiple of 8) on. Where the memory ends within the window, the rest is zero.
    /// False if nothing can be read at `address`.
    fn read_window(&mut self, address: u64, window: &mut [u64; WINDOW_WORDS]) -> bool;

    /// Whether the last read failed because it is one that could do harm, and not because nothing is there.
    fn is_refused(&self) -> bool {
        false
    }

    /// Reads one word at `address`, a multiple of 8; 0 where that fails.
    fn read_word(&mut self, address: u64) -> u64;

    /// Whether the thread has not run since the slice began: what was read so far belongs together.
    fn is_undisturbed(&mut self) -> bool;

    /// Whether the slice's budget (time, room in the buffer) is used up.
    fn is_over_budget(&mut self) -> bool;

    /// Sends a finished record. False if it cannot be sent: then it is lost.
    fn emit(&mut self, record: &Record) -> bool;
}
