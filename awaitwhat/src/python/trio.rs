//! Tasks of trio: their turn, their nurseries, and what they are parked in.
//!
//! Facts: `trio/_core/_run.py` (`Task`, `Nursery`, `Runner.reschedule`) and `trio/_core/_traps.py` of 0.22 to 0.35. A task is parked
//! while `_next_send_fn` is `None`; `_abort_func` is what cancels the wait, and is gone once it was asked to. A task in
//! `Nursery._nested_child_finished` waits for the children of that nursery.

use super::frame::{FrameAddress, Frames};
use super::{Objects, ReadError, non_null, readable};
use crate::memory::Address;
use crate::snapshot::{Frame, Nursery, TrioState, TrioTask, WaitKind, WaitsOn};

/// Nurseries of one task that are looked at.
const MAX_NURSERIES: usize = 4096;
/// The method that waits for a nursery's children.
const NURSERY_EXIT: &str = "_nested_child_finished";

/// Where trio's tasks have what, and where trio itself is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrioTypes {
    /// `trio.lowlevel.Task`.
    pub task: Address,
    /// Offset of `Task._parent_nursery`.
    pub parent_nursery: u16,
    /// Offset of `Task._child_nurseries`.
    pub child_nurseries: u16,
    /// Offset of `Task._abort_func`.
    pub abort_func: u16,
    /// Offset of `Task._schedule_points`, which counts the task's turns.
    pub schedule_points: u16,
    /// The folder of the package, as its code objects have it, with a slash at its end.
    pub folder: String,
}

/// A task as the walker saw it.
#[derive(Clone, Copy, Debug)]
pub struct TrioVisit<'a> {
    pub task: Address,
    pub coroutine: Address,
    pub is_running: bool,
    pub is_truncated: bool,
    /// `_next_send_fn`, as `task_fut_waiter` is laid out for trio.
    pub next_send: Address,
    /// Its frames, innermost first, and code object and instruction of each.
    pub stack: &'a [Frame],
    pub frames: &'a [(Address, Address)],
}

/// What was read of a task; the children of nurseries, and the tasks waited for, are still missing.
#[derive(Clone, Debug)]
pub struct TrioReading {
    pub task: TrioTask,
    pub waits_on: Option<WaitsOn>,
    /// How many turns the task has had.
    pub turns: Option<i64>,
    /// Whether it has more nurseries than are looked at.
    pub is_cut: bool,
}

impl Frames<'_> {
    /// Reads what a task of trio is besides its chain.
    ///
    /// The target may go on meanwhile: [`Frames::trio_turns`] and `next_send`, read anew, tell whether it has.
    ///
    /// # Errors
    /// When the task cannot be read.
    pub fn trio_task(&self, types: &TrioTypes, visit: &TrioVisit<'_>) -> Result<TrioReading, ReadError> {
        let objects = &self.objects;
        let turns = self.trio_turns(types, visit.task)?;
        let field = |offset: u16| objects.memory.read_address(visit.task.offset(offset.into()));
        let none = objects.types.none;
        let set = |value: Address| non_null(value).filter(|value| *value != none);
        let state = if visit.is_running {
            TrioState::Running
        } else if set(visit.next_send).is_some() {
            TrioState::Runnable
        } else if set(field(types.abort_func)?).is_some() {
            TrioState::Parked
        } else {
            TrioState::Cancelling
        };
        let mut nurseries =
            objects.first_list_items(field(types.child_nurseries)?, MAX_NURSERIES as u64 + 1)?;
        let is_cut = nurseries.len() > MAX_NURSERIES;
        nurseries.truncate(MAX_NURSERIES);
        let waits_on = match state {
            TrioState::Parked | TrioState::Cancelling if !visit.is_truncated => {
                readable(self.trio_parked_in(types, visit.coroutine, visit.stack, visit.frames))?.flatten()
            }
            _ => None,
        };
        let nursery = |id| Nursery {
            id,
            tasks: Vec::new(),
        };
        Ok(TrioReading {
            task: TrioTask {
                state,
                parent_nursery: set(field(types.parent_nursery)?),
                nurseries: nurseries.into_iter().map(nursery).collect(),
            },
            waits_on,
            turns,
            is_cut,
        })
    }

    /// How many turns a task has had.
    ///
    /// # Errors
    /// When the task cannot be read.
    pub fn trio_turns(&self, types: &TrioTypes, task: Address) -> Result<Option<i64>, ReadError> {
        let count = task.offset(types.schedule_points.into());
        let count = self.objects.memory.read_address(count)?;
        if !self.objects.is_exactly(count, self.objects.types.long)? {
            return Ok(None);
        }
        self.objects.integer(count)
    }

    /// What a parked task waits for: the nursery that it is about to leave, or the object whose method parked it. That is `self` in
    /// the outermost of trio's own functions that has one: the `Lock` rather than the `ParkingLot` in it.
    ///
    /// `stack` and `addresses` are the frames of the task, `coroutine` what it runs, as the walker saw them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn trio_parked_in(
        &self,
        types: &TrioTypes,
        coroutine: Address,
        stack: &[Frame],
        addresses: &[(Address, Address)],
    ) -> Result<Option<WaitsOn>, ReadError> {
        let mut frames = self.chain_frames(coroutine)?;
        frames.reverse();
        // What was read by the walker, and is named, must still be what is read now.
        let seen = addresses.iter().map(|(code, _)| *code);
        if !frames.iter().map(|frame| frame.code).eq(seen) {
            return Ok(None);
        }
        let is_trio = |(frame, _): &(&Frame, FrameAddress)| frame.file.starts_with(&types.folder);
        let mut found = None;
        for (frame, address) in stack.iter().zip(frames).take_while(is_trio) {
            let Some(object) = self.local(address, "self")? else {
                continue;
            };
            if frame.function.ends_with(NURSERY_EXIT) {
                return self.waits_on(WaitKind::Nursery, object).map(Some);
            }
            found = Some(object);
        }
        found
            .map(|object| self.waits_on(WaitKind::Parked, object))
            .transpose()
    }

    fn waits_on(&self, kind: WaitKind, id: Address) -> Result<WaitsOn, ReadError> {
        let type_object = self.objects.type_of(id)?;
        Ok(WaitsOn {
            kind,
            id,
            type_name: self.objects.type_name(type_object)?.into(),
            tasks: Vec::new(),
            resource: None,
            state: None,
        })
    }
}

impl Objects<'_> {
    /// The folder of the package that a function of the module `trio._core._run` is from, with a slash at its end; and its code object.
    ///
    /// # Errors
    /// When the function cannot be read.
    pub fn trio_folder(&self, function: Address) -> Result<Option<(String, Address)>, ReadError> {
        let Some((file, code)) = self.file_of_function(function)? else {
            return Ok(None);
        };
        Ok(file
            .strip_suffix("_core/_run.py")
            .map(|folder| (folder.to_owned(), code)))
    }
}
