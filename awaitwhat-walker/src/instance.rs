//! Tasks that are written in Python: their fields are attributes of an instance.
//!
//! Facts: `Lib/asyncio/tasks.py` (`Task`), `Lib/asyncio/futures.py` (`Future`), `Objects/dictobject.c` (split tables),
//! `Include/internal/pycore_dict.h` (`PyDictValues`), `Include/internal/pycore_object.h` (where an instance has them).

use awaitwhat_common::event::{TaskState, task};
use awaitwhat_common::layout::{ABSENT, Layout, TaskShape, VALUES_VALID, attribute};
use awaitwhat_common::limits::MAX_TASK_SHAPES;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::TaskStatus;

use crate::host::Host;
use crate::walk::{Flow, Walk, phase};

impl Walk {
    /// Whether tasks of `type_address` have a shape, which is the walk's from now on.
    ///
    /// The verifier would follow what comes next for each shape anew, if that did not come in a step of its own.
    #[inline(always)]
    pub(crate) fn find_shape(&mut self, layout: &Layout, type_address: u64) -> bool {
        let mut is_found = false;
        for at in 0..MAX_TASK_SHAPES {
            if type_address != 0 && layout.task_shapes[at].type_address == type_address {
                self.shape = at as u32;
                is_found = true;
            }
        }
        is_found
    }

    #[inline(always)]
    pub(crate) fn shape<'layout>(&self, layout: &'layout Layout) -> &'layout TaskShape {
        &layout.task_shapes[self.shape as usize & (MAX_TASK_SHAPES - 1)]
    }

    /// Begins the task that the window holds.
    #[inline(always)]
    pub(crate) fn begin_instance(&mut self, layout: &Layout) -> Flow {
        if self.is_linking == 0 {
            self.is_stranger = 0;
            let task_type = self.window().word(u64::from(layout.object_type));
            self.record.begin(self.object, task_type, 0, 0, 0, 0);
            self.state = TaskState::Waiting as u32;
        }
        let shape = self.shape(layout);
        let values = u64::from(shape.inline_values);
        if shape.inline_values != ABSENT && self.window().byte(values + VALUES_VALID) == 1 {
            // The window holds them already.
            self.phase = phase::VALUES;
        } else if shape.values_pointer != 0 {
            self.want_word(self.pointer_at(shape.values_pointer), phase::VALUES_POINTER);
        } else {
            self.want_word(self.pointer_at(shape.dict_pointer), phase::DICT_POINTER);
        }
        Flow::Continue
    }

    #[inline(always)]
    fn pointer_at(&self, offset: i16) -> u64 {
        self.object.wrapping_add_signed(i64::from(offset))
    }

    /// Goes on to the values, or to the dict where it has them.
    #[inline(always)]
    pub(crate) fn follow_values_pointer(&mut self, layout: &Layout) -> Flow {
        let shape = self.shape(layout);
        let is_tagged = shape.values_pointer == shape.dict_pointer;
        let pointer = self.word;
        if is_tagged && pointer & 1 == 1 {
            self.want(pointer.wrapping_add(1), phase::VALUES);
        } else if is_tagged {
            self.want(pointer, phase::DICT);
        } else if pointer != 0 {
            self.want(pointer, phase::VALUES);
        } else {
            self.want_word(self.pointer_at(shape.dict_pointer), phase::DICT_POINTER);
        }
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn follow_dict_pointer(&mut self) -> Flow {
        self.want(self.word, phase::DICT);
        Flow::Continue
    }

    /// Goes on to the values of a dict that shares the keys of its class, which have places, and to the keys of any other.
    #[inline(always)]
    pub(crate) fn follow_dict(&mut self, layout: &Layout) -> Flow {
        let shape = self.shape(layout);
        let keys = self.window().word(u64::from(shape.dict_keys));
        let values = self.window().word(u64::from(shape.dict_values));
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Opaque);
        }
        // Values inside an instance are reached without its dict: one that has others is rare.
        let is_shared = keys == shape.keys && values != 0 && shape.inline_values == ABSENT;
        if is_shared && shape.is_searched == 0 {
            self.want(values, phase::VALUES);
        } else {
            self.value = values;
            self.want(keys, phase::KEYS);
        }
        Flow::Continue
    }

    /// Takes the attributes from the values that the window holds, or goes on to their keys where these have to be searched.
    #[inline(always)]
    pub(crate) fn visit_values(&mut self, layout: &Layout) -> Flow {
        if !self.is_loaded() {
            return self.end_task(TaskStatus::Fault);
        }
        let shape = self.shape(layout);
        let values = if shape.inline_values == ABSENT {
            0
        } else {
            u64::from(shape.inline_values)
        };
        if shape.is_searched == 1 {
            self.value = self.window().base().wrapping_add(values);
            self.want(shape.keys, phase::KEYS);
            return Flow::Continue;
        }
        let value = |offset: u16| {
            if offset == ABSENT {
                0
            } else {
                self.window().word(values.wrapping_add(u64::from(offset)))
            }
        };
        let (coro, event_loop) = (value(shape.coro), value(shape.event_loop));
        let (name, fut_waiter) = (value(shape.name), value(shape.fut_waiter));
        let (state, callbacks) = (value(shape.state), value(shape.callbacks));
        self.attributes[attribute::CORO] = coro;
        self.attributes[attribute::LOOP] = event_loop;
        self.attributes[attribute::NAME] = name;
        self.attributes[attribute::FUT_WAITER] = fut_waiter;
        self.attributes[attribute::STATE] = state;
        self.attributes[attribute::CALLBACKS] = callbacks;
        self.phase = phase::ATTRIBUTES;
        Flow::Continue
    }

    /// Goes on from the attributes, which are 0 where the instance does not have them.
    #[inline(always)]
    pub(crate) fn take_attributes<H: Host>(
        &mut self,
        layout: &Layout,
        plan: &ThreadPlan,
        host: &mut H,
    ) -> Flow {
        if self.is_linking == 1 {
            return self.take_callbacks();
        }
        let pending = self.shape(layout).pending;
        let (coro, event_loop) = (self.attributes[attribute::CORO], self.attributes[attribute::LOOP]);
        let (fut_waiter, state) = (
            self.attributes[attribute::FUT_WAITER],
            self.attributes[attribute::STATE],
        );
        let fut_waiter = if fut_waiter == layout.none_address {
            0
        } else {
            fut_waiter
        };
        self.callback0 = 0;
        self.callbacks = self.attributes[attribute::CALLBACKS];
        self.record.set(task::NAME, self.attributes[attribute::NAME]);
        self.record.set(task::LOOP, event_loop);
        self.record.set(task::FUT_WAITER, fut_waiter);
        self.record.set(task::CORO, coro);
        let is_pending = state == 0 || state == pending;
        if is_pending && (coro == 0 || event_loop == 0) {
            return self.end_task(TaskStatus::Opaque);
        }
        self.begin_chain(plan, host, is_pending, coro, event_loop)
    }
}
