//! Tasks that are written in Python: where the walker finds their fields.
//!
//! `asyncio.tasks._PyTask`, what all tasks are without the `_asyncio` module, its subclasses, and whatever else is registered by
//! `asyncio._register_task` and keeps a coroutine and a loop under the same names (`Lib/asyncio/tasks.py`). Classes are learnt when a walk
//! has met a task of theirs.

use awaitwhat_common::layout::{ABSENT, Layout, TaskShape, attribute};

use super::Interpreter;
use super::scheduler::Library;
use crate::layout::DictKeys;
use crate::memory::{Address, Memory};
use crate::python::{Objects, ReadError, readable};

/// What may change of a task, or may show that its address is now another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskFields {
    pub task_type: Address,
    /// The object that names it.
    pub name: Address,
    pub event_loop: Address,
    /// The future that wakes it, or NULL.
    pub fut_waiter: Address,
}

/// What asyncio calls the attributes of a task, by [`attribute`].
const ATTRIBUTES: [&str; attribute::COUNT] =
    ["_coro", "_loop", "_name", "_fut_waiter", "_state", "_callbacks"];

impl Interpreter {
    /// Learns where tasks like `task` have their fields, whose class `type_object` the walker does not know yet. False where that cannot
    /// be told, or too many classes are known already.
    ///
    /// # Errors
    /// When the type cannot be read.
    pub fn learn_task_type(
        &mut self,
        memory: &dyn Memory,
        layout: u32,
        type_object: Address,
        task: Address,
    ) -> Result<bool, ReadError> {
        let Some(shape) = self.task_shape(memory, layout, type_object)? else {
            return Ok(false);
        };
        let Some(scheduler) = self.scheduler(layout) else {
            return Ok(false);
        };
        let mut changed = scheduler.layout;
        let objects = self.objects(memory);
        learn_names(&objects, task, &mut changed.attribute_names)?;
        if shape.is_searched == 1 {
            // That its tasks are any, the class itself does not tell.
            let has = |name| Ok::<_, ReadError>(objects.attribute(task, name)?.is_some());
            if !has("_coro")? || !has("_loop")? || !has_names(&changed) {
                return Ok(false);
            }
        }
        let Some(free) = changed.task_shapes.iter_mut().find(|it| it.type_address == 0) else {
            return Ok(false);
        };
        *free = shape;
        self.add_future_shapes(memory, layout, &mut changed);
        if !changed.is_within_bounds() {
            return Ok(false);
        }
        if let Some(scheduler) = self.schedulers.get_mut(layout as usize) {
            scheduler.layout = changed;
        }
        Ok(true)
    }

    /// Adds the futures that asyncio has without its `_asyncio` module, as the callbacks of tasks lead through them. What is not found, or
    /// has no room, ends there.
    fn add_future_shapes(&self, memory: &dyn Memory, layout: u32, changed: &mut Layout) {
        let Some(types) = self.future_types(layout).filter(|types| types.future.is_null()) else {
            return;
        };
        for type_object in [types.python_future, types.gathering] {
            let is_known = |shape: &TaskShape| shape.type_address == type_object.0;
            if type_object.is_null() || changed.task_shapes.iter().any(is_known) {
                continue;
            }
            let found = self.task_shape(memory, layout, type_object).ok().flatten();
            let free = changed.task_shapes.iter_mut().find(|it| it.type_address == 0);
            if let (Some(found), Some(free)) = (found, free) {
                // It has no places for what only a task has.
                *free = TaskShape {
                    is_searched: 1,
                    is_future: 1,
                    ..found
                };
            }
        }
    }

    /// Whether tasks of `type_object` are known to be written in Python.
    pub fn is_learnt(&self, layout: u32, type_object: Address) -> bool {
        self.shape_of(layout, type_object).is_some()
    }

    fn shape_of(&self, layout: u32, type_object: Address) -> Option<&TaskShape> {
        let shapes = &self.scheduler(layout)?.layout.task_shapes;
        shapes
            .iter()
            .find(|shape| !type_object.is_null() && shape.type_address == type_object.0)
    }

    /// Makes sure that the classes learnt are still what they were: a class may be gone, and its address another object's.
    pub(super) fn check_task_shapes(&mut self, memory: &dyn Memory, layout: u32) -> Result<(), ReadError> {
        self.check_attribute_names(memory, layout)?;
        let Some(shapes) = self.scheduler(layout).map(|it| it.layout.task_shapes) else {
            return Ok(());
        };
        for (index, shape) in shapes.into_iter().enumerate() {
            if shape.type_address == 0 {
                continue;
            }
            let now = readable(self.task_shape(memory, layout, Address(shape.type_address)))?;
            let now = now.flatten().unwrap_or_default();
            let now = TaskShape {
                is_future: shape.is_future,
                is_searched: now.is_searched | shape.is_future,
                ..now
            };
            if let Some(scheduler) = self.schedulers.get_mut(layout as usize) {
                let mut changed = scheduler.layout;
                changed.task_shapes[index] = now;
                if !changed.is_within_bounds() {
                    changed.task_shapes[index] = TaskShape::default();
                }
                scheduler.layout = changed;
            }
        }
        Ok(())
    }

    /// Makes sure that the names of attributes are still what they were. Without them all classes have to be learnt anew.
    fn check_attribute_names(&mut self, memory: &dyn Memory, layout: u32) -> Result<(), ReadError> {
        let Some(mut changed) = self.scheduler(layout).map(|it| it.layout) else {
            return Ok(());
        };
        let objects = self.objects(memory);
        for (address, name) in changed.attribute_names.iter_mut().zip(ATTRIBUTES) {
            if *address != 0 && !is_name(&objects, Address(*address), name)? {
                *address = 0;
            }
        }
        if !has_names(&changed) {
            changed
                .task_shapes
                .iter_mut()
                .filter(|shape| shape.is_searched == 1)
                .for_each(|shape| *shape = TaskShape::default());
        }
        if let Some(scheduler) = self.schedulers.get_mut(layout as usize) {
            scheduler.layout = changed;
        }
        Ok(())
    }

    fn task_shape(
        &self,
        memory: &dyn Memory,
        layout: u32,
        type_object: Address,
    ) -> Result<Option<TaskShape>, ReadError> {
        let objects = self.objects(memory);
        match self.scheduler(layout).map(|scheduler| &scheduler.library) {
            Some(Library::Asyncio(asyncio)) if objects.is_type(type_object)? => {
                match objects.offsets.dict.keys_format {
                    DictKeys::Sized => searched_shape(&objects, type_object, asyncio.pending),
                    DictKeys::OfKinds => shape_of_class(&objects, type_object, asyncio.pending),
                }
            }
            _ => Ok(None),
        }
    }

    /// The fields of a task as they are now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn task_fields(
        &self,
        memory: &dyn Memory,
        layout: u32,
        task: Address,
    ) -> Result<TaskFields, ReadError> {
        let objects = self.objects(memory);
        let task_type = objects.type_of(task)?;
        if self.is_learnt(layout, task_type) {
            let attribute = |name| Ok::<_, ReadError>(objects.attribute(task, name)?.unwrap_or_default());
            let fut_waiter = attribute("_fut_waiter")?;
            let is_none = fut_waiter == self.types.none;
            return Ok(TaskFields {
                task_type,
                name: attribute("_name")?,
                event_loop: attribute("_loop")?,
                fut_waiter: if is_none { Address::NULL } else { fut_waiter },
            });
        }
        let Some(scheduler) = self.scheduler(layout) else {
            return Err(ReadError::Malformed {
                what: "task",
                address: task,
            });
        };
        let layout = &scheduler.layout;
        let field = |offset: u16| {
            if offset == ABSENT {
                return Ok(Address::NULL);
            }
            memory.read_address(task.offset(u64::from(offset)))
        };
        Ok(TaskFields {
            task_type,
            name: field(layout.task_name)?,
            event_loop: field(layout.task_loop)?,
            fut_waiter: field(layout.task_fut_waiter)?,
        })
    }
}

/// Whether the names of those attributes are known that a task cannot do without.
fn has_names(layout: &Layout) -> bool {
    layout.attribute_names[attribute::CORO] != 0 && layout.attribute_names[attribute::LOOP] != 0
}

/// Finds the names that are not known yet, as far as `task` or its classes have them.
fn learn_names(
    objects: &Objects<'_>,
    task: Address,
    names: &mut [u64; attribute::COUNT],
) -> Result<(), ReadError> {
    for (address, name) in names.iter_mut().zip(ATTRIBUTES) {
        if *address == 0 {
            *address = objects.attribute_name(task, name)?.unwrap_or_default().0;
        }
    }
    Ok(())
}

/// Whether the `str` at `address` is still this name.
fn is_name(objects: &Objects<'_>, address: Address, name: &str) -> Result<bool, ReadError> {
    Ok(readable(objects.is_interned(address, name))?.unwrap_or(false))
}

/// The shape of instances of a class whose dicts have to be searched; `None` where they have no dict. Whether there are the attributes
/// of a task in it, an instance tells.
fn searched_shape(
    objects: &Objects<'_>,
    type_object: Address,
    pending: Address,
) -> Result<Option<TaskShape>, ReadError> {
    let (Some(dict_pointer), Ok(dict_keys), Ok(dict_values)) = (
        objects.dict_pointer(type_object)?,
        u16::try_from(objects.offsets.dict.keys),
        u16::try_from(objects.offsets.dict.values),
    ) else {
        return Ok(None);
    };
    Ok(Some(TaskShape {
        type_address: type_object.0,
        pending: pending.0,
        inline_values: ABSENT,
        dict_pointer,
        dict_keys,
        dict_values,
        is_searched: 1,
        ..TaskShape::default()
    }))
}

/// The shape of instances of a class; `None` where they have no dict. Where the class has no places for a coroutine and a loop, or the
/// walker cannot reach them, instances are searched, and only one of them tells whether there are such attributes.
fn shape_of_class(
    objects: &Objects<'_>,
    type_object: Address,
    pending: Address,
) -> Result<Option<TaskShape>, ReadError> {
    let Some(attributes) = objects.shared_attributes(type_object)? else {
        return Ok(None);
    };
    let place = |name| -> Result<u16, ReadError> {
        let offset = objects.shared_attribute(&attributes, name)?;
        Ok(offset.map_or(ABSENT, |offset| u16::try_from(offset).unwrap_or(ABSENT)))
    };
    let offsets = &objects.offsets.dict;
    let inline_values = attributes.inline_values.map_or(Ok(ABSENT), u16::try_from).ok();
    let (
        Some(inline_values),
        Ok(values_pointer),
        Ok(dict_pointer),
        Ok(dict_keys),
        Ok(dict_values),
        Ok(first_value),
    ) = (
        inline_values,
        i16::try_from(attributes.values_pointer),
        i16::try_from(attributes.dict_pointer),
        u16::try_from(offsets.keys),
        u16::try_from(offsets.values),
        u16::try_from(offsets.first_value),
    )
    else {
        return Ok(None);
    };
    let shape = TaskShape {
        type_address: type_object.0,
        keys: attributes.keys.0,
        pending: pending.0,
        coro: place("_coro")?,
        name: place("_name")?,
        event_loop: place("_loop")?,
        fut_waiter: place("_fut_waiter")?,
        state: place("_state")?,
        callbacks: place("_callbacks")?,
        is_future: 0,
        reserved: [0; 2],
        inline_values,
        values_pointer,
        dict_pointer,
        dict_keys,
        dict_values,
        first_value,
        is_searched: 0,
    };
    let is_searched = u16::from(!shape.is_within_bounds());
    Ok(Some(TaskShape { is_searched, ..shape }))
}
