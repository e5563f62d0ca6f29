//! Event loops of asyncio that are written in Python: in which turn one is, which of its timers are overdue, and what is in line.
//!
//! Facts: `Lib/asyncio/base_events.py` (`BaseEventLoop._run_once`, `BaseEventLoop.time`) and `Lib/asyncio/events.py` (`Handle`, `TimerHandle`) of
//! 3.7 to 3.15, `Modules/_collectionsmodule.c` (`dequeobject`, `BLOCK`): a turn of the loop is one call of `_run_once`. It binds `end_time`, the
//! loop's clock, once it has polled, and then runs each `handle` that was in line at that moment.

use super::frame::Frames;
use super::sequence::MAX_ITEMS;
use super::{Objects, ReadError, non_null};
use crate::memory::Address;

/// Timers that are looked at; handles in line are [`MAX_DEQUE_ITEMS`](super::sequence::MAX_DEQUE_ITEMS) at most.
pub const MAX_HANDLES: usize = 10_000;
/// Where the class is that tells the time by the system's clock.
const BASE_EVENTS: &str = "/asyncio/base_events.py";
/// The class that all loops of uvloop are derived from.
const UVLOOP: &str = "uvloop.loop.Loop";

/// How loops of one class make a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopClass {
    /// The code of its `_run_once`.
    pub turn_code: Address,
    /// Where that has its variables `self`, `end_time` and `handle`.
    pub own: usize,
    pub end_time: usize,
    pub handle: usize,
    /// Whether its clock is `time.monotonic()`, and that is the system's.
    pub has_system_clock: bool,
}

/// The functions that complete a future when a timer is due: `asyncio.futures._set_result_unless_cancelled` (`sleep`) and
/// `asyncio.tasks._release_waiter` (`wait` and, before 3.12, `wait_for`). NULL where one is not known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Completing(pub [Address; 2]);

/// What a loop has not come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// Timers that are due; of more than are looked at, so many.
    pub timers: u64,
    /// Futures that these, and what is in line, will complete.
    pub futures: Vec<Address>,
}

impl Objects<'_> {
    /// How the loop makes a turn; `None` where its class does that in another way than asyncio's own. `time` is the module of that name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn loop_class(
        &self,
        event_loop: Address,
        time: Option<Address>,
    ) -> Result<Option<LoopClass>, ReadError> {
        let type_object = self.type_of(event_loop)?;
        let Some(turn_code) = self.method_code(type_object, "_run_once")? else {
            return Ok(None);
        };
        let variable = |name| Ok::<_, ReadError>(self.local_indices(turn_code, name)?.first().copied());
        let (Some(own), Some(end_time), Some(handle)) =
            (variable("self")?, variable("end_time")?, variable("handle")?)
        else {
            return Ok(None);
        };
        Ok(Some(LoopClass {
            turn_code,
            own,
            end_time,
            handle,
            has_system_clock: self.has_system_clock(event_loop, type_object, time)?,
        }))
    }

    /// Whether nothing stands between the loop's clock and the system's: no `time` of a subclass or of the loop itself, as tests have it, and no
    /// function of Python's in place of `time.monotonic`.
    fn has_system_clock(
        &self,
        event_loop: Address,
        type_object: Address,
        time: Option<Address>,
    ) -> Result<bool, ReadError> {
        let Some(code) = self.method_code(type_object, "time")? else {
            return Ok(false);
        };
        let file = self
            .memory
            .read_address(code.offset(self.offsets.code.filename))?;
        if !self.text(file)?.into_shown().ends_with(BASE_EVENTS)
            || self.attribute(event_loop, "time")?.is_some()
        {
            return Ok(false);
        }
        let monotonic = match time {
            Some(module) => self.module_attribute(module, "monotonic")?,
            None => None,
        };
        let Some(monotonic) = monotonic else {
            return Ok(false);
        };
        let kind = self.full_type_name(self.type_of(monotonic)?)?;
        Ok(kind == "builtin_function_or_method")
    }

    /// Whether the loop is one of uvloop's, whose `time` nothing stands in front of: libuv's clock is `CLOCK_MONOTONIC`, in ms.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_uvloop_clock(&self, event_loop: Address) -> Result<bool, ReadError> {
        if self.attribute(event_loop, "time")?.is_some() {
            return Ok(false);
        }
        for class in self.resolution_order(self.type_of(event_loop)?)? {
            if !self.is_heap_type(class)? && self.full_type_name(class)? == UVLOOP {
                return Ok(true);
            }
            if let Some(namespace) = self.namespace(class)?
                && self.dict_get(namespace, "time")?.is_some()
            {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// The code of the function that instances of a class have under this name.
    fn method_code(&self, type_object: Address, name: &str) -> Result<Option<Address>, ReadError> {
        let Some(function) = self.class_attribute(type_object, name)? else {
            return Ok(None);
        };
        if !self.is_exactly(function, self.types.function)? {
            return Ok(None);
        }
        let code = self
            .memory
            .read_address(function.offset(self.offsets.function.code))?;
        Ok(self.is_exactly(code, self.types.code)?.then_some(code))
    }

    /// What a class has under this name, itself or from the classes that it is derived from.
    pub(super) fn class_attribute(
        &self,
        type_object: Address,
        name: &str,
    ) -> Result<Option<Address>, ReadError> {
        for class in self.resolution_order(type_object)? {
            if let Some(namespace) = self.namespace(class)?
                && let Some(found) = self.dict_get(namespace, name)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The value of a `float`; `None` for anything else.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn float(&self, object: Address) -> Result<Option<f64>, ReadError> {
        if self.full_type_name(self.type_of(object)?)? != "float" {
            return Ok(None);
        }
        let value = self.memory.read_u64(object.offset(self.offsets.header_bytes()))?;
        Ok(Some(f64::from_bits(value)).filter(|value| value.is_finite()))
    }

    /// What the loop has not come to at `now`, by its own clock: timers that are due, and the futures that they and the handles in line
    /// complete.
    ///
    /// # Errors
    /// When the loop cannot be read.
    pub fn overdue(
        &self,
        event_loop: Address,
        now: f64,
        completing: Completing,
    ) -> Result<Overdue, ReadError> {
        let mut slots = HandleSlots::default();
        let mut overdue = Overdue::default();
        let mut note = |this: &Self, handle, slots: &mut HandleSlots| {
            overdue
                .futures
                .extend(this.completed_by(handle, slots, completing)?);
            Ok::<_, ReadError>(())
        };
        if let Some(ready) = self.attribute(event_loop, "_ready")? {
            for handle in self.deque_items(ready)? {
                note(self, handle, &mut slots)?;
            }
        }
        let mut timers = 0;
        if let Some(scheduled) = self.attribute(event_loop, "_scheduled")?
            && self.is_exactly(scheduled, self.types.list)?
        {
            let heap = self.first_list_items(scheduled, MAX_ITEMS)?;
            // No timer is due before the one that it hangs from.
            let mut ahead = vec![0];
            while let Some(at) = ahead.pop().filter(|_| timers < MAX_HANDLES as u64) {
                let Some(&timer) = heap.get(at) else { continue };
                let when = self.slot_of(timer, "_when", &mut slots)?;
                let is_due = match when {
                    Some(when) => self.float(when)?.is_some_and(|when| when <= now),
                    None => false,
                };
                if !is_due {
                    continue;
                }
                ahead.extend([2 * at + 1, 2 * at + 2]);
                if !self.is_cancelled(timer, &mut slots)? {
                    timers += 1;
                    note(self, timer, &mut slots)?;
                }
            }
        }
        overdue.timers = timers;
        Ok(overdue)
    }

    /// The future that a handle completes, where that is all that it does.
    fn completed_by(
        &self,
        handle: Address,
        slots: &mut HandleSlots,
        completing: Completing,
    ) -> Result<Option<Address>, ReadError> {
        let callback = self.slot_of(handle, "_callback", slots)?;
        if !callback.is_some_and(|callback| completing.0.contains(&callback)) {
            return Ok(None);
        }
        let Some(arguments) = self.slot_of(handle, "_args", slots)? else {
            return Ok(None);
        };
        if self.full_type_name(self.type_of(arguments)?)? != "tuple" {
            return Ok(None);
        }
        Ok(self.first_tuple_items(arguments, 1)?.first().copied())
    }

    fn is_cancelled(&self, handle: Address, slots: &mut HandleSlots) -> Result<bool, ReadError> {
        match self.slot_of(handle, "_cancelled", slots)? {
            Some(flag) => Ok(self.integer(flag)? == Some(1)),
            None => Ok(false),
        }
    }

    /// What a handle has in the slot `name`, which its class or one that it is derived from declares.
    fn slot_of(
        &self,
        handle: Address,
        name: &'static str,
        slots: &mut HandleSlots,
    ) -> Result<Option<Address>, ReadError> {
        let type_object = self.type_of(handle)?;
        let known = slots
            .0
            .iter()
            .find(|known| (known.0, known.1) == (type_object, name));
        let offset = match known {
            Some(known) => known.2,
            None => {
                let found = self.inherited_slot(type_object, name)?;
                slots.note((type_object, name, found));
                found
            }
        };
        match offset {
            Some(offset) => Ok(non_null(self.memory.read_address(handle.offset(offset.into()))?)),
            None => Ok(None),
        }
    }

    /// The items of a `collections.deque`, as far as they are looked at; of anything else none.
    pub(super) fn deque_items(&self, deque: Address) -> Result<Vec<Address>, ReadError> {
        if self.full_type_name(self.type_of(deque)?)? != "collections.deque" {
            return Ok(Vec::new());
        }
        self.first_deque_items(deque)
    }
}

/// Where handles of some classes have some slots.
#[derive(Default)]
struct HandleSlots(Vec<(Address, &'static str, Option<u16>)>);

impl HandleSlots {
    /// Classes of handles that are remembered, times slots.
    const MAX: usize = 64;

    fn note(&mut self, slot: (Address, &'static str, Option<u16>)) {
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        self.0.push(slot);
    }
}

impl Frames<'_> {
    /// The value of a variable by its place; `None` where it is not bound.
    ///
    /// # Errors
    /// When the frame cannot be read.
    pub fn local_at(&self, frame: Address, index: usize) -> Result<Option<Address>, ReadError> {
        let locals = frame.offset(u64::from(self.layout.frame_locals));
        Ok(non_null(self.untagged(locals.offset(index as u64 * 8))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Table, Version};
    use crate::python::image::{Heap, MemoryImage};
    use crate::python::sequence::{BLOCK_ITEMS, MAX_DEQUE_ITEMS};

    /// Slots of a timer, and where they are.
    const SLOTS: [(&str, u64); 4] = [
        ("_when", 24),
        ("_callback", 32),
        ("_args", 40),
        ("_cancelled", 48),
    ];
    /// `T_OBJECT_EX`, and where the dict of the loop is.
    const OBJECT: u64 = 16;
    const DICT: u64 = 16;

    struct World {
        heap: Heap,
        timer: Address,
        float: Address,
        sleep: Address,
    }

    impl World {
        fn new() -> Self {
            let version = Version::from_hex(0x030c_00f0);
            let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
            let mut heap = Heap::new(table.expect("3.12 publishes nothing").offsets);
            let descriptor_type = heap.new_type("member_descriptor", 0, 48);
            let members = SLOTS.map(|(name, offset)| {
                let definition = heap.allocate(40);
                heap.set(definition, 8, OBJECT);
                heap.set(definition, 16, offset);
                let descriptor = heap.object(descriptor_type, 48);
                heap.set(descriptor, 40, definition.0);
                (name, descriptor)
            });
            let namespace = heap.dict(&members);
            let timer = heap.new_type("TimerHandle", 0, 64);
            heap.set(timer, heap.offsets.type_object.dict_offset - 24, namespace.0);
            let order = heap.tuple(&[timer]);
            heap.set(timer, heap.offsets.type_object.mro, order.0);
            let float = heap.new_type("float", 0, 24);
            let sleep = heap.allocate(64);
            Self {
                heap,
                timer,
                float,
                sleep,
            }
        }

        /// A timer that completes `future` by `callback`.
        fn timer(&mut self, when: f64, callback: Address, future: u64, is_cancelled: bool) -> Address {
            let heap = &mut self.heap;
            let time = heap.object(self.float, 24);
            heap.set(time, 16, when.to_bits());
            let flag = heap.object(heap.types.long, 32);
            heap.set(flag, heap.offsets.long.tag, if is_cancelled { 8 } else { 1 });
            heap.set(flag, heap.offsets.long.digits, u64::from(is_cancelled));
            let arguments = heap.tuple(&[Address(future)]);
            let tuple = heap.new_type("tuple", 0, 24);
            heap.set(arguments, heap.offsets.object_type, tuple.0);
            let timer = heap.object(self.timer, 64);
            for (value, (_, offset)) in [time, callback, arguments, flag].into_iter().zip(SLOTS) {
                heap.set(timer, offset, value.0);
            }
            timer
        }

        /// A deque of one block, whose items begin at `first`.
        fn deque(&mut self, items: &[Address], first: u64) -> Address {
            let heap = &mut self.heap;
            let block = heap.allocate(8 * (BLOCK_ITEMS + 2));
            for (at, item) in (first..).zip(items) {
                heap.set(block, 8 + at * 8, item.0);
            }
            let kind = heap.new_type("collections.deque", 0, 80);
            let deque = heap.object(kind, 80);
            for (offset, word) in [
                (16, items.len() as u64),
                (24, block.0),
                (32, block.0),
                (40, first),
            ] {
                heap.set(deque, offset, word);
            }
            deque
        }

        fn event_loop(&mut self, ready: Address, scheduled: Address) -> Address {
            let heap = &mut self.heap;
            let attributes = heap.dict(&[("_ready", ready), ("_scheduled", scheduled)]);
            let kind = heap.new_type("Loop", 0, 32);
            heap.set(kind, heap.offsets.type_object.dict_offset, DICT);
            let event_loop = heap.object(kind, 32);
            heap.set(event_loop, DICT, attributes.0);
            event_loop
        }

        fn overdue(&self, event_loop: Address) -> Result<Overdue, ReadError> {
            let completing = Completing([self.sleep, Address::NULL]);
            self.heap.objects().overdue(event_loop, 10.0, completing)
        }
    }

    #[test]
    fn what_is_due_is_counted_and_what_it_completes_is_told() {
        let mut world = World::new();
        let (sleep, other) = (world.sleep, world.heap.allocate(64));
        // A heap: each is due no sooner than the one that it hangs from.
        let timers = [
            world.timer(1.0, sleep, 0xa0, false),
            world.timer(9.0, other, 0xb0, false),
            world.timer(2.0, sleep, 0xc0, true),
            world.timer(11.0, sleep, 0xd0, false),
            world.timer(10.0, sleep, 0xe0, false),
        ];
        let scheduled = world.heap.list(&timers);
        let in_line = [world.timer(0.5, sleep, 0xf0, false)];
        let ready = world.deque(&in_line, 62);
        let event_loop = world.event_loop(ready, scheduled);
        let mut overdue = world.overdue(event_loop).expect("it can be read");
        overdue.futures.sort_unstable();
        assert_eq!(overdue.timers, 3);
        assert_eq!(overdue.futures, [0xa0, 0xe0, 0xf0].map(Address));
    }

    #[test]
    fn what_a_deque_says_of_itself_is_bounded() {
        let mut world = World::new();
        let ready = world.deque(&[], 0);
        let block = world
            .heap
            .objects()
            .memory
            .read_address(ready.offset(24))
            .unwrap();
        // It claims to be endless, and leads back to itself.
        world.heap.set(ready, 16, u64::MAX);
        world.heap.set(block, 8 + BLOCK_ITEMS * 8, block.0);
        assert_eq!(
            world.heap.objects().deque_items(ready).unwrap().len(),
            MAX_DEQUE_ITEMS
        );
        for first in [BLOCK_ITEMS, u64::MAX] {
            world.heap.set(ready, 40, first);
            assert!(world.heap.objects().deque_items(ready).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_no_loop_of_asyncio_says_nothing() {
        let mut world = World::new();
        let event_loop = world.event_loop(Address::NULL, Address::NULL);
        assert_eq!(world.heap.objects().loop_class(event_loop, None), Ok(None));
    }
}
