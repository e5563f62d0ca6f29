//! Jobs of `concurrent.futures`, and the futures of asyncio that wait for them.
//!
//! `loop.run_in_executor`, and what is built on it (`asyncio.to_thread`, `getaddrinfo`), and `asyncio.wrap_future` chain a future of asyncio to
//! one of `concurrent.futures`: the first one has a callback that would cancel the second, which it refers to in its closure.
//!
//! Facts: `Lib/asyncio/futures.py` (`_chain_future`), `Lib/asyncio/tasks.py` (`run_coroutine_threadsafe`), `Lib/concurrent/futures/_base.py`
//! (`Future`), `Lib/concurrent/futures/thread.py` (`_WorkItem`, `_worker`), `Modules/_queuemodule.c` (`simplequeueobject`), of 3.7 to 3.15.

use std::collections::HashMap;

use super::future::FutureTypes;
use super::{Objects, ReadError};
use crate::layout::SimpleQueue;
use crate::memory::Address;

/// Callbacks of one future that are looked at.
const MAX_CALLBACKS: u64 = 64;
/// Items of one queue that are looked at.
pub const MAX_QUEUED: u64 = 10_000;
/// The callback of a chained future, and where it is.
const CHAINED: (&str, &str) = ("_chain_future.<locals>._call_check_cancel", "/asyncio/futures.py");

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Nobody has begun it.
    Queued,
    Running,
    /// It has ended, or was cancelled.
    Done,
    /// Its future does not say.
    Unknown,
}

/// Which functions are the callbacks of chained futures, and where these refer to the other future, by their code.
#[derive(Debug, Default)]
pub struct Chained(HashMap<Address, Option<usize>>);

impl Chained {
    /// Functions that are remembered.
    const MAX: usize = 4096;
}

impl Objects<'_> {
    /// The future of `concurrent.futures` that a future of asyncio is chained to: when that one is done, this one will be. `None` where it is
    /// chained to none.
    ///
    /// # Errors
    /// When the future or one of its callbacks cannot be read.
    pub fn job_behind(
        &self,
        future: Address,
        types: &FutureTypes,
        known: &mut Chained,
    ) -> Result<Option<Address>, ReadError> {
        for callback in self.future_callbacks(future, types)? {
            if let Some(source) = self.source_of(callback, known)? {
                return Ok(Some(source));
            }
        }
        Ok(None)
    }

    /// The future of asyncio, mostly a task, that a future of `concurrent.futures` is chained to: `asyncio.run_coroutine_threadsafe` does that.
    ///
    /// # Errors
    /// As [`Objects::job_behind`].
    pub fn task_behind(&self, job: Address, known: &mut Chained) -> Result<Option<Address>, ReadError> {
        let Some(callbacks) = self.attribute(job, "_done_callbacks")? else {
            return Ok(None);
        };
        if !self.is_exactly(callbacks, self.types.list)? {
            return Ok(None);
        }
        for callback in self.first_list_items(callbacks, MAX_CALLBACKS)? {
            if let Some(source) = self.source_of(callback, known)? {
                return Ok(Some(source));
            }
        }
        Ok(None)
    }

    /// The other future, where a callback is that of a chained one.
    fn source_of(&self, callback: Address, known: &mut Chained) -> Result<Option<Address>, ReadError> {
        if callback.is_null() || !self.is_exactly(callback, self.types.function)? {
            return Ok(None);
        }
        let code = callback.offset(self.offsets.function.code);
        let code = self.memory.read_address(code)?;
        let place = match known.0.get(&code) {
            Some(place) => *place,
            None => {
                let place = if self.is_function(callback, CHAINED.0, CHAINED.1)? {
                    self.closure_place(callback, "source")?
                } else {
                    None
                };
                if known.0.len() >= Chained::MAX {
                    known.0.clear();
                }
                known.0.insert(code, place);
                place
            }
        };
        place.map_or(Ok(None), |place| self.closure_value(callback, place))
    }

    /// How far a job has come, by its future of `concurrent.futures`.
    ///
    /// # Errors
    /// When the future cannot be read.
    pub fn job_state(&self, job: Address) -> Result<JobState, ReadError> {
        let Some(state) = self.attribute(job, "_state")? else {
            return Ok(JobState::Unknown);
        };
        for (text, known) in [
            ("PENDING", JobState::Queued),
            ("RUNNING", JobState::Running),
            ("FINISHED", JobState::Done),
            ("CANCELLED", JobState::Done),
            ("CANCELLED_AND_NOTIFIED", JobState::Done),
        ] {
            if self.str_equals(state, text)? {
                return Ok(known);
            }
        }
        Ok(JobState::Unknown)
    }

    /// The future of a `_WorkItem`.
    ///
    /// # Errors
    /// When the item cannot be read.
    pub fn work_item_future(&self, item: Address) -> Result<Option<Address>, ReadError> {
        self.attribute(item, "future")
    }

    /// What a `_WorkItem` has to call, by name.
    ///
    /// # Errors
    /// When the item, or what it has to call, cannot be read.
    pub fn work_item_function(&self, item: Address) -> Result<Option<String>, ReadError> {
        let function = match self.attribute(item, "fn")? {
            Some(function) => Some(function),
            // Since 3.14 it has a tuple of function and arguments.
            None => match self.attribute(item, "task")? {
                Some(task) => self.tuple_items(task, 1)?.first().copied(),
                None => None,
            },
        };
        function.map_or(Ok(None), |function| self.callable_name(function))
    }

    /// The items of a `_queue.SimpleQueue`, the next one first, at most [`MAX_QUEUED`]; of anything else none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn simple_queue_items(&self, queue: Address) -> Result<Vec<Address>, ReadError> {
        if self.full_type_name(self.type_of(queue)?)? != "_queue.SimpleQueue" {
            return Ok(Vec::new());
        }
        let header = self.offsets.header_bytes();
        let word = |offset: u64| self.memory.read_u64(queue.offset(header + offset));
        match self.offsets.simple_queue {
            SimpleQueue::List { list, position } => {
                let (list, taken) = (Address(word(list)?), word(position)?);
                if list.is_null() || !self.is_exactly(list, self.types.list)? {
                    return Ok(Vec::new());
                }
                let items = self.first_list_items(list, taken.saturating_add(MAX_QUEUED))?;
                let taken = usize::try_from(taken).unwrap_or(usize::MAX);
                Ok(items.into_iter().skip(taken).collect())
            }
            SimpleQueue::Ring {
                first,
                items,
                capacity,
                count,
            } => {
                let (first, items) = (word(first)?, Address(word(items)?));
                let (capacity, count) = (word(capacity)?, word(count)?);
                if first >= capacity || count > capacity {
                    return Err(ReadError::Malformed {
                        what: "queue",
                        address: queue,
                    });
                }
                // It begins anew behind its last place.
                let before_end = count.min(capacity - first).min(MAX_QUEUED);
                let others = count.min(MAX_QUEUED) - before_end;
                let mut found = self.pointers(items.offset(first.wrapping_mul(8)), before_end as usize)?;
                found.extend(self.pointers(items, others as usize)?);
                Ok(found)
            }
        }
    }

    /// The callbacks of a future of asyncio, the first ones.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn future_callbacks(&self, future: Address, types: &FutureTypes) -> Result<Vec<Address>, ReadError> {
        let type_object = self.type_of(future)?;
        let is = |base: Address| -> Result<bool, ReadError> {
            Ok(!base.is_null() && self.is_subtype(type_object, base)?)
        };
        let (first, list) = if is(types.future)? {
            let field = |offset| self.memory.read_address(future.offset(offset));
            let offsets = &self.offsets.future;
            (field(offsets.callback0)?, field(offsets.callbacks)?)
        } else if is(types.python_future)? {
            let callbacks = self.attribute(future, "_callbacks")?;
            (Address::NULL, callbacks.unwrap_or_default())
        } else {
            return Ok(Vec::new());
        };
        let mut callbacks: Vec<Address> = super::non_null(first).into_iter().collect();
        if !list.is_null() && self.is_exactly(list, self.types.list)? {
            for pair in self.first_list_items(list, MAX_CALLBACKS)? {
                // Each has its context beside it.
                callbacks.extend(self.tuple_items(pair, 1)?);
            }
        }
        Ok(callbacks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Table, Version};
    use crate::python::image::{Heap, MemoryImage};

    /// Where instances of classes have their dict.
    const DICT: u64 = 16;

    fn heap() -> Heap {
        let version = Version::from_hex(0x030c_00f0);
        let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
        Heap::new(table.expect("3.12 publishes nothing").offsets)
    }

    /// A function with variables from around it.
    fn function(heap: &mut Heap, name: &str, file: &str, closure: &[(&str, Address)]) -> Address {
        let offsets = heap.offsets;
        let code = heap.object(heap.types.code, 256);
        let names: Vec<Address> = ["own"]
            .into_iter()
            .chain(closure.iter().map(|(name, _)| *name))
            .map(|name| heap.text(name))
            .collect();
        let names = heap.tuple(&names);
        heap.set(code, offsets.code.local_names, names.0);
        let file = heap.text(file);
        heap.set(code, offsets.code.filename, file.0);
        let cells: Vec<Address> = closure
            .iter()
            .map(|(_, value)| {
                let cell = heap.object(heap.types.cell, 24);
                heap.set(cell, offsets.cell_contents, value.0);
                cell
            })
            .collect();
        let cells = heap.tuple(&cells);
        let name = heap.text(name);
        let function = heap.object(heap.types.function, 128);
        heap.set(function, offsets.function.qualified_name, name.0);
        heap.set(function, offsets.function.code, code.0);
        heap.set(function, offsets.function.closure, cells.0);
        function
    }

    fn instance(heap: &mut Heap, name: &str, attributes: &[(&str, Address)]) -> Address {
        let class = heap.new_type(name, 0, 32);
        let own = heap.types.type_type;
        heap.set(own, heap.offsets.object_type, own.0);
        heap.set(class, heap.offsets.type_object.dict_offset, DICT);
        let dict = heap.dict(attributes);
        let instance = heap.object(class, 32);
        heap.set(instance, DICT, dict.0);
        instance
    }

    #[test]
    fn a_future_leads_to_the_job_that_it_is_chained_to() {
        let mut heap = heap();
        let future_type = heap.new_type("_asyncio.Future", 0, 128);
        let types = FutureTypes {
            future: future_type,
            ..FutureTypes::default()
        };
        let source = heap.allocate(64);
        let variables = [("dest_loop", Address(0x10)), ("source", source)];
        let chained = function(
            &mut heap,
            CHAINED.0,
            "/lib/python3.12/asyncio/futures.py",
            &variables,
        );
        let foreign = function(&mut heap, CHAINED.0, "/srv/futures.py", &variables);
        let other = function(
            &mut heap,
            "callback",
            "/lib/python3.12/asyncio/futures.py",
            &variables,
        );
        let future = heap.object(future_type, 128);
        let behind = |heap: &Heap| heap.objects().job_behind(future, &types, &mut Chained::default());
        assert_eq!(behind(&heap), Ok(None), "it has no callbacks");
        heap.set(future, heap.offsets.future.callback0, foreign.0);
        assert_eq!(behind(&heap), Ok(None));
        let context = heap.allocate(32);
        let pairs = [other, chained].map(|it| heap.tuple(&[it, context]));
        let list = heap.list(&pairs);
        heap.set(future, heap.offsets.future.callbacks, list.0);
        assert_eq!(behind(&heap), Ok(Some(source)));
        heap.set(future, heap.offsets.future.callback0, chained.0);
        assert_eq!(behind(&heap), Ok(Some(source)));
    }

    #[test]
    fn a_job_says_its_state_and_what_completes_it() {
        let mut heap = heap();
        let task = heap.allocate(64);
        let variables = [("source", task)];
        let chained = function(
            &mut heap,
            CHAINED.0,
            "/lib/python3.12/asyncio/futures.py",
            &variables,
        );
        let callbacks = heap.list(&[chained]);
        for (text, state) in [
            ("PENDING", JobState::Queued),
            ("RUNNING", JobState::Running),
            ("FINISHED", JobState::Done),
            ("CANCELLED_AND_NOTIFIED", JobState::Done),
            ("elsewhere", JobState::Unknown),
        ] {
            let text = heap.text(text);
            let job = instance(
                &mut heap,
                "Future",
                &[("_state", text), ("_done_callbacks", callbacks)],
            );
            assert_eq!(heap.objects().job_state(job), Ok(state));
            assert_eq!(
                heap.objects().task_behind(job, &mut Chained::default()),
                Ok(Some(task))
            );
        }
        let nothing = instance(&mut heap, "Future", &[]);
        assert_eq!(heap.objects().job_state(nothing), Ok(JobState::Unknown));
        assert_eq!(
            heap.objects().task_behind(nothing, &mut Chained::default()),
            Ok(None)
        );
    }

    #[test]
    fn what_an_item_calls_is_found_through_what_wraps_it() {
        let mut heap = heap();
        let work = function(&mut heap, "Clerk.file", "/srv/clerk.py", &[]);
        let builtin_type = heap.new_type("builtin_function_or_method", 0, 48);
        let partial_type = heap.new_type("functools.partial", 0, 48);
        let context_type = heap.new_type("_contextvars.Context", 0, 48);
        let definition = heap.allocate(16);
        let name = heap.allocate(8);
        heap.image.write(name.0, b"run\0");
        heap.set(definition, 0, name.0);
        let run = heap.object(builtin_type, 48);
        let context = heap.object(context_type, 48);
        heap.set(run, 16, definition.0);
        heap.set(run, 24, context.0);
        let partial = |heap: &mut Heap, function: Address, arguments: &[Address]| {
            let arguments = heap.tuple(arguments);
            let partial = heap.object(partial_type, 48);
            heap.set(partial, 16, function.0);
            heap.set(partial, 24, arguments.0);
            partial
        };
        let in_thread = partial(&mut heap, run, &[work]);
        let wrapped = partial(&mut heap, in_thread, &[]);
        let endless = partial(&mut heap, work, &[]);
        heap.set(endless, 16, endless.0);
        let arguments = heap.tuple(&[wrapped]);
        let of_3_14 = instance(&mut heap, "_WorkItem", &[("task", arguments)]);
        let before = instance(&mut heap, "_WorkItem", &[("fn", work)]);
        let hostile = instance(&mut heap, "_WorkItem", &[("fn", endless)]);
        let found = |item| heap.objects().work_item_function(item);
        assert_eq!(found(of_3_14), Ok(Some("Clerk.file".to_owned())));
        assert_eq!(found(before), Ok(Some("Clerk.file".to_owned())));
        assert_eq!(found(hostile), Ok(None));
        assert_eq!(
            heap.objects().callable_name(run),
            Ok(Some("Context.run".to_owned()))
        );
    }

    fn queue(heap: &mut Heap, words: &[u64]) -> Address {
        let queue_type = heap.new_type("_queue.SimpleQueue", 0, 72);
        let queue = heap.object(queue_type, 72);
        for (at, word) in words.iter().enumerate() {
            heap.set(queue, 16 + at as u64 * 8, *word);
        }
        queue
    }

    #[test]
    fn a_queue_has_what_is_not_taken_yet() {
        let mut heap = heap();
        let items: Vec<Address> = (1..=4).map(|number| Address(number * 16)).collect();
        let list = heap.list(&items);
        let by_list = queue(&mut heap, &[0, 0, list.0, 3]);
        assert_eq!(heap.objects().simple_queue_items(by_list), Ok(vec![items[3]]));
        let taken = queue(&mut heap, &[0, 0, list.0, u64::MAX]);
        assert_eq!(heap.objects().simple_queue_items(taken), Ok(Vec::new()));

        heap.offsets.simple_queue = SimpleQueue::Ring {
            first: 16,
            items: 24,
            capacity: 32,
            count: 40,
        };
        let ring = heap.allocate(32);
        heap.image.write_words(ring.0, &[0x30, 0x40, 0x10, 0x20]);
        let by_ring = queue(&mut heap, &[0, 2, 2, ring.0, 4, 4]);
        assert_eq!(heap.objects().simple_queue_items(by_ring), Ok(items));
        let no_queue = heap.allocate(64);
        assert!(heap.objects().simple_queue_items(no_queue).is_err());
        for [first, capacity, count] in [[4, 4, 1], [0, 4, 5], [0, 0, 0]] {
            let hostile = queue(&mut heap, &[0, 0, first, ring.0, capacity, count]);
            assert!(heap.objects().simple_queue_items(hostile).is_err());
        }
        // However much it claims to have, no more is asked for than a queue may have.
        let endless = queue(&mut heap, &[0, 0, u64::MAX - 1, ring.0, u64::MAX, u64::MAX]);
        assert!(heap.objects().simple_queue_items(endless).is_err());
    }
}
