//! Coroutines without a Python frame: those that Cython compiles. They are learnt when a walk has ended at one.
//!
//! Every module that Cython made may have types of its own, and the fields of an object differ by Cython's release
//! (`__pyx_CoroutineObject`, `Cython/Utility/Coroutine.c` of 0.29 to 3.1). But each type tells Python where it has what it awaits and its
//! code, by `tp_members`; the qualified name comes right before the name of the module.

use awaitwhat_common::layout::Wrapper;

use super::Interpreter;
use crate::memory::{Address, Memory};
use crate::python::{Objects, ReadError};

/// What coroutines, generators and asynchronous generators call what they await, and their code.
const MEMBERS: [[&str; 2]; 3] = [
    ["cr_await", "cr_code"],
    ["gi_yieldfrom", "gi_code"],
    ["ag_await", "ag_code"],
];
/// Names of types that lead to such an object by their first field: `await` makes the first one (`__pyx_CoroutineAwaitObject`).
const WRAPPERS: [&str; 3] = [
    "coroutine_wrapper",
    "async_generator_asend",
    "async_generator_athrow",
];

impl Interpreter {
    /// Learns what `object` awaits, at which a chain ended, if it is a coroutine without a Python frame or leads to one. False where it
    /// is neither, or too many types are known already.
    ///
    /// # Errors
    /// When the object or its type cannot be read.
    pub fn learn_awaitable(
        &mut self,
        memory: &dyn Memory,
        layout: u32,
        object: Address,
        type_object: Address,
    ) -> Result<bool, ReadError> {
        let objects = self.objects(memory);
        if objects.type_of(object)? != type_object {
            return Ok(false);
        }
        let inner = objects.offsets.header_bytes();
        let wrapper = match opaque_coroutine(&objects, type_object)? {
            Some(found) => {
                let name = memory.read_address(object.offset(u64::from(found.name)))?;
                if !objects.is_exactly(name, self.types.unicode)? {
                    return Ok(false);
                }
                found
            }
            None if is_wrapper(&objects, type_object)? => {
                let coroutine = memory.read_address(object.offset(inner))?;
                if opaque_coroutine(&objects, objects.type_of(coroutine)?)?.is_none() {
                    return Ok(false);
                }
                Wrapper {
                    type_address: type_object.0,
                    inner: u16::try_from(inner).unwrap_or(u16::MAX),
                    ..Wrapper::default()
                }
            }
            None => return Ok(false),
        };
        let Some(scheduler) = self.schedulers.get_mut(layout as usize) else {
            return Ok(false);
        };
        let mut changed = scheduler.layout;
        let is_known = changed.wrappers.iter().any(|it| it.type_address == type_object.0);
        let free = changed.wrappers.iter_mut().find(|it| it.type_address == 0);
        let Some(free) = free.filter(|_| !is_known) else {
            return Ok(false);
        };
        *free = wrapper;
        if !changed.is_within_bounds() {
            return Ok(false);
        }
        scheduler.layout = changed;
        Ok(true)
    }

    /// Makes sure that the types learnt are still what they were: one may be gone, and its address another object's.
    pub(super) fn check_awaitables(&mut self, memory: &dyn Memory, layout: u32) {
        let Some(scheduler) = self.scheduler(layout) else {
            return;
        };
        let objects = self.objects(memory);
        let mut changed = scheduler.layout;
        for wrapper in changed.wrappers.iter_mut().skip(scheduler.wrappers) {
            let type_object = Address(wrapper.type_address);
            let is_still = type_object.is_null()
                || if wrapper.name == 0 {
                    is_wrapper(&objects, type_object).unwrap_or(false)
                } else {
                    opaque_coroutine(&objects, type_object).ok().flatten() == Some(*wrapper)
                };
            if !is_still {
                *wrapper = Wrapper::default();
            }
        }
        if let Some(scheduler) = self.schedulers.get_mut(layout as usize) {
            scheduler.layout = changed;
        }
    }
}

/// How the walker finds what instances of a type await; `None` where the type does not tell as coroutines do.
fn opaque_coroutine(objects: &Objects<'_>, type_object: Address) -> Result<Option<Wrapper>, ReadError> {
    if !objects.is_type(type_object)? {
        return Ok(None);
    }
    let members = objects.object_members(type_object)?;
    let place = |name: &str| members.iter().find(|it| it.0 == name).map(|it| it.1);
    let Some(module) = place("__module__") else {
        return Ok(None);
    };
    for [awaited, code] in MEMBERS {
        if let (Some(inner), Some(code), Some(name)) = (place(awaited), place(code), module.checked_sub(8)) {
            return Ok(Some(Wrapper {
                type_address: type_object.0,
                inner,
                is_terminal: 0,
                name,
                code,
            }));
        }
    }
    Ok(None)
}

fn is_wrapper(objects: &Objects<'_>, type_object: Address) -> Result<bool, ReadError> {
    Ok(objects.is_type(type_object)? && WRAPPERS.contains(&objects.type_name(type_object)?.as_str()))
}
