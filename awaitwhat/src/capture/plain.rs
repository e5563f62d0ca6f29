//! Values that cross the border to the kernel as they lie in memory.

use awaitwhat_common::kernel::{KernelOffsets, ReadRequest};
use awaitwhat_common::layout::Layout;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_walker::Walk;

/// A value that is nothing but its bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: `repr(C)` all the way down, made of integers only: every bit pattern is a value.
unsafe impl aya::Pod for Plain<Layout> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<ThreadPlan> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Walk> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<KernelOffsets> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<ReadRequest> {}
