//! What the callbacks of a task lead to: who awaits it.
//!
//! Before 3.14 a task does not know who awaits it, and since then not always. But whatever awaits it is woken by a callback: the task itself,
//! by a method bound to it; a future (of `gather`, `wait`, `shield`, ...), by a function that refers to it in its closure, or by a
//! `functools.partial`; an object that waits for several (a `TaskGroup`), by a method of it. So from the awaited side every edge is found in
//! a few steps, however many tasks somebody waits for. Of a future the callbacks are followed in turn; of all else its address is sent, and
//! user space joins it with what the awaiting side says. A rule of one library there is not among these.
//!
//! Facts: `Modules/_asynciomodule.c` (`fut_callback0`, `fut_callbacks`, `TaskWakeupMethWrapper` until 3.9, `TaskWakeupDef` since),
//! `Lib/asyncio/tasks.py`, `Lib/asyncio/taskgroups.py`, `Objects/funcobject.c`, `Objects/cellobject.c`, `Modules/_functoolsmodule.c`.

use awaitwhat_common::event::aside::MANY;
use awaitwhat_common::layout::{Layout, attribute};
use awaitwhat_common::limits::{
    LINK_STEP_WORDS, MAX_BOUND_TYPES, MAX_CALLBACKS, MAX_CELLS, MAX_FUTURE_TYPES, MAX_LINK_STEPS, MAX_LINKS,
};

use crate::walk::{Flow, Walk, phase};

impl Walk {
    /// Begins with the callbacks of the task that the record is about.
    #[inline(always)]
    pub(crate) fn begin_links(&mut self) -> Flow {
        let only = if self.callbacks == 0 { self.callback0 } else { 0 };
        if only != 0 && only == self.links_of {
            // What was found for the last task is found again.
            self.phase = phase::LINK_WORDS;
            return Flow::Continue;
        }
        self.links_of = only;
        self.link_steps = 0;
        self.link_count = 0;
        self.links_seen = 0;
        self.links_cut = 0;
        self.own_callbacks = 1;
        self.pairs_left = 0;
        self.phase = phase::NEXT_CALLBACK;
        Flow::Continue
    }

    /// Goes on to the next callback of the future, or, where there are no more, to what they have led to.
    #[inline(always)]
    pub(crate) fn choose_callback(&mut self, layout: &Layout) -> Flow {
        self.link_steps += 1;
        if self.link_steps > MAX_LINK_STEPS {
            self.cut_links();
            self.phase = phase::LINK_WORDS;
            return Flow::Continue;
        }
        if self.callback0 != 0 {
            let callback = self.callback0;
            self.callback0 = 0;
            self.want(callback, phase::CALLBACK);
        } else if self.callbacks != 0 && self.callbacks != layout.none_address {
            let callbacks = self.callbacks;
            self.callbacks = 0;
            self.want(callbacks, phase::CALLBACKS);
        } else if self.pairs_left != 0 {
            let pair = self.pair;
            self.pair = pair.wrapping_add(8);
            self.pairs_left -= 1;
            self.want_word(pair, phase::CALLBACK_PAIR);
        } else if self.links_seen < self.link_count {
            let link = self.links[self.links_seen as usize & (MAX_LINKS - 1)];
            self.links_seen += 1;
            self.want(link, phase::LINK);
        } else {
            self.phase = phase::LINK_WORDS;
        }
        Flow::Continue
    }

    /// Begins with the list of a future's callbacks.
    #[inline(always)]
    pub(crate) fn visit_callbacks(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::NEXT_CALLBACK;
        let links = &layout.links;
        let window = self.window();
        if !self.is_loaded() || window.word(u64::from(layout.object_type)) != links.list_type {
            self.cut_links();
            return Flow::Continue;
        }
        let size = window.word(u64::from(links.list_size));
        let first = window.word(u64::from(links.list_items));
        self.pair = first;
        self.pairs_left = size;
        // With the one that is not in the list. Those of the task itself come first.
        let count = if size < u64::from(MANY) {
            size as u32 + 1
        } else {
            MANY
        };
        self.own_callbacks = if self.links_seen == 0 { count } else { MANY };
        if size > MAX_CALLBACKS {
            self.pairs_left = MAX_CALLBACKS;
            self.links_cut = self.own_callbacks;
        }
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn follow_pair(&mut self, layout: &Layout) -> Flow {
        let first = self.word.wrapping_add(u64::from(layout.links.tuple_items));
        self.want_word(first, phase::CALLBACK_OF_PAIR);
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn follow_callback(&mut self) -> Flow {
        self.want(self.word, phase::CALLBACK);
        Flow::Continue
    }

    /// Finds what a callback has bound to it, or refers to in its closure.
    #[inline(always)]
    pub(crate) fn visit_callback(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::NEXT_CALLBACK;
        if !self.is_loaded() {
            self.cut_links();
            return Flow::Continue;
        }
        let links = &layout.links;
        let type_address = self.window().word(u64::from(layout.object_type));
        if type_address == links.function_type {
            let closure = self.window().word(u64::from(links.function_closure));
            if closure != 0 {
                self.are_arguments = 0;
                self.want(closure, phase::CELLS);
            }
            return Flow::Continue;
        }
        let mut bound = 0;
        let mut is_tuple = 0;
        for at in 0..MAX_BOUND_TYPES {
            let known = &links.bound[at];
            if type_address != 0 && known.type_address == type_address {
                bound = self.window().word(u64::from(known.offset));
                is_tuple = u32::from(known.is_tuple);
            }
        }
        if is_tuple == 1 {
            self.are_arguments = 1;
            self.want(bound, phase::CELLS);
        } else {
            self.add_link(layout, bound);
        }
        Flow::Continue
    }

    #[inline(always)]
    pub(crate) fn visit_cells(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::NEXT_CALLBACK;
        let links = &layout.links;
        let window = self.window();
        if !self.is_loaded() || window.word(u64::from(layout.object_type)) != links.tuple_type {
            self.cut_links();
            return Flow::Continue;
        }
        let count = window.word(u64::from(links.tuple_size));
        self.cell = 0;
        self.cells = count;
        if count > MAX_CELLS {
            self.cells = MAX_CELLS;
            self.cut_links();
        }
        self.want_cell(layout);
        Flow::Continue
    }

    /// Goes on to the next cell, or argument, of the tuple that the window holds.
    #[inline(always)]
    fn want_cell(&mut self, layout: &Layout) {
        if self.cell >= self.cells {
            self.phase = phase::NEXT_CALLBACK;
            return;
        }
        let items = u64::from(layout.links.tuple_items);
        let at = items.wrapping_add(self.cell.wrapping_mul(8));
        self.cell += 1;
        let place = if self.are_arguments == 1 {
            self.window().base().wrapping_add(at)
        } else {
            self.window()
                .word(at)
                .wrapping_add(u64::from(layout.links.cell_contents))
        };
        self.want_word(place, phase::CELL);
    }

    #[inline(always)]
    pub(crate) fn take_cell(&mut self, layout: &Layout) -> Flow {
        self.add_link(layout, self.word);
        self.want_cell(layout);
        Flow::Continue
    }

    /// Notes an object that a callback leads to.
    #[inline(always)]
    fn add_link(&mut self, layout: &Layout, object: u64) {
        if object == 0 || object == layout.none_address {
            return;
        }
        if self.link_count == MAX_LINKS as u32 {
            self.links_cut = if self.links_seen == 0 {
                self.own_callbacks
            } else {
                MANY
            };
            return;
        }
        self.links[self.link_count as usize & (MAX_LINKS - 1)] = object;
        self.link_count += 1;
    }

    /// Looks at what a callback led to: the callbacks of a future, which is no task, are followed in turn.
    #[inline(always)]
    pub(crate) fn visit_link(&mut self, layout: &Layout) -> Flow {
        self.phase = phase::NEXT_CALLBACK;
        let window = self.window();
        let type_address = window.word(u64::from(layout.object_type));
        if is_future(layout, type_address) && self.is_loaded() {
            let first = window.word(u64::from(layout.links.callback0));
            let others = window.word(u64::from(layout.links.callbacks));
            self.callback0 = first;
            self.callbacks = others;
        } else if self.is_loaded()
            && self.find_shape(layout, type_address)
            && self.shape(layout).is_future == 1
        {
            self.object = self.window().base();
            self.is_linking = 1;
            self.phase = phase::INSTANCE;
        }
        Flow::Continue
    }

    /// Goes on with the callbacks of a future that is written in Python.
    #[inline(always)]
    pub(crate) fn take_callbacks(&mut self) -> Flow {
        self.is_linking = 0;
        self.callback0 = 0;
        self.callbacks = self.attributes[attribute::CALLBACKS];
        self.phase = phase::NEXT_CALLBACK;
        Flow::Continue
    }

    /// Gives up a future that is written in Python.
    #[inline(always)]
    pub(crate) fn end_linking(&mut self) -> Flow {
        self.is_linking = 0;
        self.cut_links();
        self.phase = phase::NEXT_CALLBACK;
        Flow::Continue
    }

    /// Notes that not everything was looked at.
    #[inline(always)]
    fn cut_links(&mut self) {
        if self.links_cut == 0 {
            self.links_cut = MANY;
        }
    }

    /// Appends what was found to the record, as much as a step may.
    #[inline(always)]
    pub(crate) fn send_links(&mut self) -> Flow {
        for _ in 0..LINK_STEP_WORDS {
            let at = self.record.links();
            if at >= self.link_count {
                break;
            }
            let link = self.links[at as usize & (MAX_LINKS - 1)];
            self.record.push_link(link);
        }
        if self.record.links() >= self.link_count {
            self.record.cut_links(self.links_cut);
            self.phase = phase::FINISH;
        }
        Flow::Continue
    }
}

/// Whether this is the type of futures that are not written in Python. It leaves at the first one, as the verifier follows each way through.
#[inline(always)]
fn is_future(layout: &Layout, type_address: u64) -> bool {
    if type_address == 0 {
        return false;
    }
    for at in 0..MAX_FUTURE_TYPES {
        if layout.links.futures[at] == type_address {
            return true;
        }
    }
    false
}
