//! What a suspended task of asyncio waits for, or that it waits for its loop only.
//!
//! Facts: `Modules/_asynciomodule.c` (`fut_state`; `task_fut_waiter` is cleared as a step of the task begins), `Lib/asyncio/tasks.py`
//! (`_wait`, `_wait_for_one`) and `Lib/asyncio/taskgroups.py` of 3.7 to 3.15.

use std::sync::Arc;

use foldhash::HashMap;

use crate::decode::TaskRecord;
use crate::memory::Address;
use crate::python::future::FutureTypes;
use crate::python::{Objects, ReadError};
use crate::snapshot::{Frame, FutureState, WaitKind};

/// Types that are remembered.
const MAX_TYPES: usize = 4096;
/// The end of the path of anyio's own task groups on asyncio, which are like asyncio's.
const ANYIO: &str = "/anyio/_backends/_asyncio.py";
/// `STATE_PENDING` of `fut_state` (`_asynciomodule.c`).
const PENDING: u32 = 0;

/// What a record says of the suspension of its task, all of it of one turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Suspension {
    /// The task's own type.
    pub task_type: Address,
    /// The future that wakes the task, or null; its type and its `fut_state`, where it is not what the chain ends with.
    pub fut_waiter: Address,
    pub fut_waiter_type: Address,
    pub fut_waiter_state: u32,
    /// What the chain ends with, or null; its type and its `fut_state`.
    pub terminal: Address,
    pub terminal_type: Address,
    pub terminal_state: u32,
}

impl Suspension {
    /// Whether the chain ends in what wakes the task, and that is not done: what is no future has no state, and passes for one that is not done.
    pub fn awaits_pending(&self) -> bool {
        !self.terminal.is_null() && self.terminal == self.fut_waiter && self.terminal_state == PENDING
    }

    /// What the chain ends in, or what wakes the task where it ends in a plain `yield`.
    pub fn awaited(&self) -> Address {
        if self.terminal.is_null() {
            self.fut_waiter
        } else {
            self.terminal
        }
    }

    /// What a record says.
    pub fn of(record: &TaskRecord<'_>) -> Self {
        Self {
            task_type: record.task_type,
            fut_waiter: record.fut_waiter,
            fut_waiter_type: record.fut_waiter_type,
            fut_waiter_state: record.fut_waiter_state,
            terminal: record.terminal,
            terminal_type: record.terminal_type,
            terminal_state: record.terminal_state,
        }
    }
}

/// What a suspended task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The object; its type's name, and its kind.
    pub object: Address,
    pub type_name: Arc<str>,
    pub kind: WaitKind,
    /// How far it has come, where it is a future written in C: others do not show it.
    pub state: Option<FutureState>,
}

/// What is known of types, by address.
#[derive(Debug, Default)]
pub struct Kinds(HashMap<Address, Kind>);

/// What is known of one type.
#[derive(Clone, Debug)]
struct Kind {
    class: Class,
    /// Whether its objects are laid out as `_asyncio.Future` is.
    is_native: bool,
    name: Arc<str>,
}

/// Kinds of types, as far as waiting is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Task,
    Gathering,
    Future,
    Other,
}

impl Class {
    fn kind(self) -> WaitKind {
        match self {
            Self::Task => WaitKind::Task,
            Self::Gathering => WaitKind::Gather,
            Self::Future => WaitKind::Future,
            Self::Other => WaitKind::Other,
        }
    }
}

impl Kinds {
    /// Forgets what is known.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether the task could go on and waits for its loop only: what wakes it is done, or there is nothing that does. False where what
    /// wakes it is written in Python, whose state is no part of the record.
    ///
    /// # Errors
    /// When a type cannot be read.
    pub fn is_ready(
        &mut self,
        objects: Objects<'_>,
        types: &FutureTypes,
        task: &Suspension,
    ) -> Result<bool, ReadError> {
        let (type_object, state) = if task.fut_waiter.is_null() {
            // A task of a class that is only registered with asyncio may keep it elsewhere.
            return Ok(self.classify(objects, types, task.task_type)?.class == Class::Task);
        } else if task.fut_waiter == task.terminal {
            (task.terminal_type, task.terminal_state)
        } else {
            (task.fut_waiter_type, task.fut_waiter_state)
        };
        if state == PENDING {
            // Of one that is written in Python this is as good: it does not show. Most tasks wait, and of these no type has to be known.
            return Ok(false);
        }
        Ok(self.classify(objects, types, type_object)?.is_native)
    }

    /// What the task waits for: what its chain ends with; where that is no future, and where there is none, the future that wakes it.
    /// `innermost` is its innermost frame.
    ///
    /// # Errors
    /// When a type cannot be read.
    pub fn end(
        &mut self,
        objects: Objects<'_>,
        types: &FutureTypes,
        task: &Suspension,
        innermost: Option<&Frame>,
    ) -> Result<Option<End>, ReadError> {
        let Some((object, state, kind)) = self.ending(objects, types, task)? else {
            return Ok(None);
        };
        let by_function = innermost.and_then(waiting_function);
        let state = FutureState::of_number(state).filter(|_| kind.is_native);
        Ok(Some(End {
            object,
            type_name: kind.name,
            kind: match (kind.class, by_function) {
                (Class::Future, Some(kind)) => kind,
                (class, _) => class.kind(),
            },
            state,
        }))
    }

    /// The future that the task waits for, where that is one written in Python, whose state no record has.
    ///
    /// # Errors
    /// When a type cannot be read.
    pub fn python_future(
        &mut self,
        objects: Objects<'_>,
        types: &FutureTypes,
        task: &Suspension,
    ) -> Result<Option<Address>, ReadError> {
        let ending = self.ending(objects, types, task)?;
        let is_it = |kind: &Kind| kind.class != Class::Other && !kind.is_native;
        Ok(ending.and_then(|(object, _, kind)| is_it(&kind).then_some(object)))
    }

    /// What the task waits for, what lies there at the place of a future's state, and what is known of its type.
    fn ending(
        &mut self,
        objects: Objects<'_>,
        types: &FutureTypes,
        task: &Suspension,
    ) -> Result<Option<(Address, u32, Kind)>, ReadError> {
        let mut found = match task.terminal {
            Address::NULL => None,
            terminal => {
                let kind = self.classify(objects, types, task.terminal_type)?;
                Some((terminal, task.terminal_state, kind))
            }
        };
        let has_other = !task.fut_waiter.is_null() && !task.fut_waiter_type.is_null();
        if has_other
            && found
                .as_ref()
                .is_none_or(|(_, _, kind)| kind.class == Class::Other)
        {
            let kind = self.classify(objects, types, task.fut_waiter_type)?;
            found = Some((task.fut_waiter, task.fut_waiter_state, kind));
        }
        Ok(found)
    }

    /// What is known of a type, which is asked whether it is one before anything is believed.
    fn classify(
        &mut self,
        objects: Objects<'_>,
        types: &FutureTypes,
        type_object: Address,
    ) -> Result<Kind, ReadError> {
        if let Some(known) = self.0.get(&type_object) {
            return Ok(known.clone());
        }
        let name: Arc<str> = objects.checked_type_name(type_object)?.into();
        let is =
            |base: Address| Ok::<_, ReadError>(!base.is_null() && objects.is_subtype(type_object, base)?);
        let mut class = Class::Other;
        for (base, known) in [
            (types.python_future, Class::Future),
            (types.future, Class::Future),
            (types.gathering, Class::Gathering),
            (types.task, Class::Task),
            (types.python_task, Class::Task),
        ] {
            if is(base)? {
                class = known;
            }
        }
        let is_native = is(types.future)? || is(types.task)?;
        if self.0.len() >= MAX_TYPES {
            self.0.clear();
        }
        let kind = Kind {
            class,
            is_native,
            name,
        };
        self.0.insert(type_object, kind.clone());
        Ok(kind)
    }
}

/// What a function of asyncio's own waits for, where it has a future for that which tells nothing: each of these awaits nothing else.
fn waiting_function(innermost: &Frame) -> Option<WaitKind> {
    match (module_of(&innermost.file), &*innermost.function) {
        ("taskgroups.py", "TaskGroup.__aexit__" | "TaskGroup._aexit") => Some(WaitKind::TaskGroup),
        ("tasks.py", "_wait") => Some(WaitKind::Wait),
        _ if is_group_of_anyio(innermost) => Some(WaitKind::TaskGroup),
        _ => None,
    }
}

fn is_group_of_anyio(frame: &Frame) -> bool {
    // Before 3.11 a code object knows no more than its function's plain name.
    frame.file.ends_with(ANYIO) && matches!(&*frame.function, "TaskGroup.__aexit__" | "__aexit__")
}

/// The object for which a task waits in a method of it, and to which the callbacks of those lead that are waited for: a task group, or the
/// queue or the iterator of an `as_completed`. `stack` is innermost first; `variables` are the first ones of its first two frames.
pub fn group(stack: &[Frame], variables: [Address; 2]) -> Option<Address> {
    let [innermost, next, ..] = stack else { return None };
    let [own, of_next] = variables;
    let group = match waiting_function(innermost) {
        Some(WaitKind::TaskGroup) => own,
        _ if module_of(&next.file) != "tasks.py" => Address::NULL,
        _ if &*next.function == "_AsCompletedIterator._wait_for_one" => of_next,
        _ if next.function.ends_with("_wait_for_one") => own,
        _ => Address::NULL,
    };
    (!group.is_null()).then_some(group)
}

/// Base name of a file of asyncio, empty for any other file.
fn module_of(file: &str) -> &str {
    match file.rsplit_once('/') {
        Some((folder, name)) if folder.ends_with("/asyncio") => name,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Table, Version};
    use crate::python::image::{Heap, MemoryImage};
    use crate::testing::frame;

    struct World {
        heap: Heap,
        types: FutureTypes,
        other: Address,
    }

    impl World {
        fn new() -> Self {
            let version = Version::from_hex(0x030c_00f0);
            let table = Table::for_interpreter(&MemoryImage::default(), version, Address::NULL);
            let mut heap = Heap::new(table.expect("3.12 publishes nothing").offsets);
            let own = heap.types.type_type;
            heap.set(own, heap.offsets.object_type, own.0);
            let future = heap.new_type("_asyncio.Future", 0, 128);
            let python_future = heap.new_type("Future", 0, 128);
            let mut derived = |name, base| {
                let type_object = heap.new_type(name, 0, 128);
                let mro = heap.tuple(&[type_object, base]);
                heap.set(type_object, heap.offsets.type_object.mro, mro.0);
                type_object
            };
            let types = FutureTypes {
                task: derived("_asyncio.Task", future),
                gathering: derived("_GatheringFuture", future),
                future,
                python_future,
                python_task: Address::NULL,
            };
            let other = heap.new_type("Awaitable", 0, 32);
            Self { heap, types, other }
        }

        fn is_ready(&self, task: &Suspension) -> bool {
            Kinds::default()
                .is_ready(self.heap.objects(), &self.types, task)
                .expect("all types are there")
        }

        fn end(&self, task: &Suspension) -> Option<(u64, WaitKind, String)> {
            let end = Kinds::default()
                .end(self.heap.objects(), &self.types, task, None)
                .expect("all types are there")?;
            Some((end.object.0, end.kind, end.type_name.to_string()))
        }

        /// A task that waits for `terminal`, of this type and state.
        fn waiting(&self, type_object: Address, state: u32) -> Suspension {
            Suspension {
                task_type: self.types.task,
                fut_waiter: Address(0xa0),
                fut_waiter_type: Address::NULL,
                fut_waiter_state: 0,
                terminal: Address(0xa0),
                terminal_type: type_object,
                terminal_state: state,
            }
        }
    }

    #[test]
    fn a_task_is_ready_when_what_it_awaits_is_done() {
        let world = World::new();
        let types = &world.types;
        assert!(!world.is_ready(&world.waiting(types.future, 0)));
        for native in [types.future, types.task, types.gathering] {
            assert!(world.is_ready(&world.waiting(native, 1)));
        }
        // What lies at the place of a state there is none.
        assert!(!world.is_ready(&world.waiting(types.python_future, 1)));
        let by_turn = Suspension {
            fut_waiter: Address::NULL,
            terminal: Address::NULL,
            ..world.waiting(Address::NULL, 0)
        };
        assert!(world.is_ready(&by_turn));
        let foreign = Suspension {
            task_type: world.other,
            ..by_turn
        };
        assert!(!world.is_ready(&foreign));
    }

    #[test]
    fn what_is_no_future_leaves_the_word_to_the_future_that_wakes_the_task() {
        let world = World::new();
        let unknown = world.waiting(world.other, 0);
        let name = || "Awaitable".to_owned();
        assert_eq!(world.end(&unknown), Some((0xa0, WaitKind::Other, name())));
        let with_task = Suspension {
            fut_waiter: Address(0xb0),
            fut_waiter_type: world.types.task,
            ..unknown
        };
        assert_eq!(
            world.end(&with_task),
            Some((0xb0, WaitKind::Task, "Task".to_owned()))
        );
        assert!(!world.is_ready(&with_task));
        let done = Suspension {
            fut_waiter_state: 2,
            ..with_task
        };
        assert!(world.is_ready(&done));
        let by_yield = Suspension {
            terminal: Address::NULL,
            ..with_task
        };
        assert_eq!(
            world.end(&by_yield),
            Some((0xb0, WaitKind::Task, "Task".to_owned()))
        );
    }

    #[test]
    fn what_is_no_type_has_no_name() {
        let mut world = World::new();
        let no_type = world.heap.allocate(64);
        let task = world.waiting(no_type, 0);
        let end = Kinds::default().end(world.heap.objects(), &world.types, &task, None);
        assert!(end.is_err());
    }

    #[test]
    fn functions_that_wait_for_several_are_told_by_their_frames() {
        let world = World::new();
        let task = world.waiting(world.types.future, 0);
        let kind = |function, file| {
            let innermost = frame(function, file, 1);
            let end = Kinds::default().end(world.heap.objects(), &world.types, &task, Some(&innermost));
            end.expect("all types are there").map(|end| end.kind)
        };
        let tasks = "/usr/lib/python3.12/asyncio/tasks.py";
        assert_eq!(kind("_wait", tasks), Some(WaitKind::Wait));
        assert_eq!(kind("_wait", "/srv/tasks.py"), Some(WaitKind::Future));
        assert_eq!(
            kind("TaskGroup._aexit", "/usr/lib/python3.13/asyncio/taskgroups.py"),
            Some(WaitKind::TaskGroup)
        );
    }

    #[test]
    fn groups_are_found_by_the_first_variables_of_their_methods() {
        let tasks = "/usr/lib/python3.13/asyncio/tasks.py";
        let queues = "/usr/lib/python3.13/asyncio/queues.py";
        let groups = "/usr/lib/python3.13/asyncio/taskgroups.py";
        let (own, next) = (Address(0x10), Address(0x20));
        let found = |one: (&str, &str), other: (&str, &str)| {
            let stack = [frame(one.0, one.1, 1), frame(other.0, other.1, 2)];
            group(&stack, [own, next])
        };
        let get = ("Queue.get", queues);
        assert_eq!(found(("TaskGroup._aexit", groups), ("main", "/a.py")), Some(own));
        assert_eq!(
            found(get, ("_AsCompletedIterator._wait_for_one", tasks)),
            Some(next)
        );
        let local = ("as_completed.<locals>._wait_for_one", tasks);
        assert_eq!(found(get, local), Some(own));
        assert_eq!(found(get, ("main", "/srv/app.py")), None);
        assert_eq!(group(&[frame("TaskGroup._aexit", groups, 1)], [own, next]), None);
    }
}
