//! Types of futures.

use crate::memory::Address;

/// Types of asyncio that end chains; those that the target does not have are NULL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FutureTypes {
    /// `_asyncio.Task`.
    pub task: Address,
    /// `asyncio.tasks._PyTask`.
    pub python_task: Address,
    /// `_asyncio.Future`.
    pub future: Address,
    /// `asyncio.futures._PyFuture`.
    pub python_future: Address,
    /// `asyncio.tasks._GatheringFuture`.
    pub gathering: Address,
}
