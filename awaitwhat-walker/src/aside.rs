//! What is read of a task besides its chain, in the same turn: what wakes it, and what names it; `links` goes on from there.
//!
//! A task, its name and what it waits for are gone when it is; their addresses are the next one's at once. So what is to be said of them is
//! read by the walk that reads the chain.
//!
//! Facts: `Modules/_asynciomodule.c` (`FutureObj_HEAD`, `TaskObj`; a name is a `str`, or since 3.13 an `int` where nobody has asked for it
//! yet), `Include/cpython/unicodeobject.h`.

use awaitwhat_common::event::{TaskState, task};
use awaitwhat_common::layout::{ABSENT, Layout};
use awaitwhat_common::limits::{MAX_NAME_WORDS, NAME_STEP_WORDS, WINDOW_BYTES, WINDOW_WORDS};
use awaitwhat_common::plan::{ThreadPlan, wants};

use crate::walk::{Flow, Walk, phase};

/// Words of an object that names a task and is no `str`: an `int`, or what shows that it is neither.
const OTHER_NAME_WORDS: u32 = 8;
/// Three bits say how many bytes a character takes: 1, 2 or 4.
const KIND_MASK: u32 = 7;

impl Walk {
    /// `fut_state` of the object that the window holds, if that is a future.
    #[inline(always)]
    pub(crate) fn future_state(&self, layout: &Layout) -> u32 {
        if layout.task_state == ABSENT {
            return 0;
        }
        self.window().half(u64::from(layout.task_state))
    }

    /// Goes on from a task's chain to what wakes the task.
    #[inline(always)]
    pub(crate) fn begin_aside(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if self.is_tick == 1 {
            self.phase = phase::FINISH;
            return Flow::Continue;
        }
        let fut_waiter = self.record.get(task::FUT_WAITER);
        let is_other = fut_waiter != 0 && fut_waiter != self.record.get(task::TERMINAL);
        // What a task of trio has there is no future.
        if is_other && layout.task_state != ABSENT && self.state == TaskState::Waiting as u32 {
            self.want(fut_waiter, phase::FUT_WAITER);
            return Flow::Continue;
        }
        self.go_on_to_name(layout, plan)
    }

    #[inline(always)]
    pub(crate) fn visit_fut_waiter(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if self.is_loaded() {
            let type_address = self.window().word(u64::from(layout.object_type));
            let state = self.future_state(layout);
            self.record.set_fut_waiter(type_address, state);
        }
        self.go_on_to_name(layout, plan)
    }

    #[inline(always)]
    fn go_on_to_name(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        let name = self.record.get(task::NAME);
        if plan.wants & wants::NAME == 0 || name == 0 {
            return self.go_on_to_links(layout, plan);
        }
        self.want(name, phase::NAME);
        Flow::Continue
    }

    /// Finds how many words the object has that names the task.
    #[inline(always)]
    pub(crate) fn visit_name(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if !self.is_loaded() {
            return self.go_on_to_links(layout, plan);
        }
        let text = &layout.text;
        let window = self.window();
        let is_text = window.word(u64::from(layout.object_type)) == text.type_address;
        let kind = window.half(u64::from(text.state)) >> (u32::from(text.kind_shift) & 31) & KIND_MASK;
        // A longer one is cut anyway.
        let most = u64::from(MAX_NAME_WORDS) * 8;
        let characters = window.word(u64::from(text.length));
        let characters = if characters > most { most } else { characters };
        let bytes = u64::from(text.data) + characters * u64::from(kind);
        let words = (bytes as u32).wrapping_add(7) / 8;
        self.name_words = if !is_text {
            OTHER_NAME_WORDS
        } else if words > MAX_NAME_WORDS {
            MAX_NAME_WORDS
        } else {
            words
        };
        self.phase = phase::NAME_WORDS;
        Flow::Continue
    }

    /// Takes words that the window holds, as many as a step may, and goes on to the next ones.
    #[inline(always)]
    pub(crate) fn take_name_words(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        let first = self.record.name_words();
        for at in 0..NAME_STEP_WORDS {
            let word = self.window().word(u64::from(first.wrapping_add(at)) * 8);
            self.record.push_name_word(word);
        }
        if self.name_words <= NAME_STEP_WORDS || !self.is_loaded() {
            return self.go_on_to_links(layout, plan);
        }
        self.name_words -= NAME_STEP_WORDS;
        if first
            .wrapping_add(NAME_STEP_WORDS)
            .is_multiple_of(WINDOW_WORDS as u32)
        {
            let next = self.window().base().wrapping_add(WINDOW_BYTES);
            self.want(next, phase::NAME_WORDS);
        }
        Flow::Continue
    }

    /// Goes on to what a task's callbacks lead to, by way of the first variables of its innermost frames, where these are not known yet.
    #[inline(always)]
    fn go_on_to_links(&mut self, layout: &Layout, plan: &ThreadPlan) -> Flow {
        if plan.wants & wants::LINKS == 0 || layout.driver_code != 0 {
            self.phase = phase::FINISH;
            return Flow::Continue;
        }
        if layout.has_heap_frames() && self.state == TaskState::Waiting as u32 {
            // The outer one first, as the last one that is noted is the innermost one's.
            self.want_word(self.variables[1], phase::FIRST_VARIABLE);
            return Flow::Continue;
        }
        self.phase = phase::LINKS;
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn take_first_variable(&mut self, _plan: &ThreadPlan) -> Flow {
        self.record.push_first_variable(self.word);
        let innermost = self.variables[0];
        self.variables[0] = 0;
        if innermost == 0 {
            self.phase = phase::LINKS;
            return Flow::Continue;
        }
        self.want_word(innermost, phase::FIRST_VARIABLE);
        Flow::Continue
    }
}
