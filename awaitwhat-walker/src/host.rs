//! What the walker needs from where it runs.

use awaitwhat_common::layout::Layout;
use awaitwhat_common::limits::WINDOW_WORDS;
use awaitwhat_common::plan::ThreadPlan;

use crate::record::Record;
use crate::walk::Walk;

/// Where a walk runs: inside the kernel, or over a memory image.
///
/// Lifetimes: a host lives for one slice, during which the target's memory does not change, or a change is found out by
/// [`Host::is_undisturbed`]. A [`crate::Walk`] outlives its hosts: it carries the position from slice to slice.
pub trait Host {
    /// Reads the word at `address`, a multiple of 8; nothing if that fails. Where a window is given, it is filled with the memory from `address`
    /// on, and with zeros from where the memory ends; what it holds after a failure does not matter.
    fn read(&mut self, address: u64, window: Option<&mut [u64; WINDOW_WORDS]>) -> Option<u64>;

    /// Whether the last read failed because it is one that could do harm, and not because nothing is there.
    fn is_refused(&self) -> bool {
        false
    }

    /// Whether the thread has not run since the slice began: what was read so far belongs together.
    fn is_undisturbed(&mut self) -> bool;

    /// Whether the slice's budget (time, room in the buffer) is used up.
    fn is_over_budget(&mut self) -> bool;

    /// Does a step of `walk` that reads nothing, and needs nothing of a host: [`Walk::rare_step`], or a function that does that.
    fn rare_step(walk: &mut Walk, layout: &Layout, plan: &ThreadPlan) {
        walk.rare_step(layout, plan);
    }

    /// Sends a finished record. False if it cannot be sent: then it is lost.
    fn emit(&mut self, record: &Record) -> bool;
}
