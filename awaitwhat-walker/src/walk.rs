//! The state of a walk, and its steps.

use awaitwhat_common::event::{HEAD, SLICE_WORDS, TaskState, flags, kind, slice, task};
use awaitwhat_common::layout::{Layout, attribute};
use awaitwhat_common::limits::MAX_LINKS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::{SliceStatus, TaskStatus};

use crate::apart::stack;
use crate::host::Host;
use crate::record::Record;
use crate::window::{Window, is_object_address};

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    Done(SliceStatus),
}

/// Steps between two looks at the budget: a step takes about 100 ns. A power of two.
const STEPS_PER_CHECK: u32 = 8;

/// Numbers of the windows.
pub(crate) const OBJECT: usize = 0;
pub(crate) const TABLE: usize = 1;

/// What the next step does, once what it wants is read.
pub(crate) mod phase {
    /// Chooses the next registry.
    pub const NEXT_ROOT: u32 = 0;
    /// Begins a registry.
    pub const ROOT: u32 = 1;
    /// Finds the place in a linked list where the last slice ended: looks at a node visited then.
    pub const RESUME_LIST: u32 = 2;
    /// Looks at what follows that node.
    pub const RESUME_BEHIND: u32 = 3;
    /// Makes sure that a set's table is still the one that the last slice walked.
    pub const RESUME_SET: u32 = 4;
    /// Visits the next node of a linked list.
    pub const NODE: u32 = 5;
    /// Looks at the next slot of a set.
    pub const SLOT: u32 = 6;
    /// Goes on with a part of a set's table that was read.
    pub const SLOTS: u32 = 7;
    /// Follows a weak reference to its task.
    pub const WEAK_REFERENCE: u32 = 8;
    /// Begins a task.
    pub const TASK: u32 = 9;
    /// Looks at the next object of a chain.
    pub const CHAIN: u32 = 10;
    /// Tells an `await` from a `yield` by the next instruction.
    pub const OPCODE: u32 = 11;
    /// Finds the awaited object on a suspended frame's stack.
    pub const STACK: u32 = 12;
    /// Goes on to the awaited object that was read.
    pub const AWAITED: u32 = 13;
    /// Looks at the terminal awaitable.
    pub const TERMINAL: u32 = 14;
    /// Finds the thread's current frame through its `cframe`.
    pub const CFRAME: u32 = 15;
    /// Goes on to the thread's current frame.
    pub const CURRENT_FRAME: u32 = 16;
    /// Looks at the next frame of the thread.
    pub const FRAME: u32 = 17;
    /// Sends the record and goes on to the next task.
    pub const FINISH: u32 = 18;
    /// Goes on from the pointer to the attributes of a task that is written in Python.
    pub const VALUES_POINTER: u32 = 19;
    /// Goes on to the dict of such a task.
    pub const DICT_POINTER: u32 = 20;
    /// Goes on from that dict to its values.
    pub const DICT: u32 = 21;
    /// Looks at the values of such a task's attributes.
    pub const VALUES: u32 = 22;
    /// Looks at the frame of a coroutine that is an object of its own.
    pub const HEAP_FRAME: u32 = 23;
    /// Finds the next instruction in what such a frame's code has.
    pub const CODE: u32 = 24;
    /// Goes on from an awaitable without a Python frame, which the window holds.
    pub const WRAPPER: u32 = 25;
    /// Finds the entries of a dict behind the head of its keys.
    pub const KEYS: u32 = 26;
    /// Looks at the next entry of a dict.
    pub const ENTRY: u32 = 27;
    /// Takes the value of such an entry.
    pub const ENTRY_VALUE: u32 = 28;
    /// Begins a task with the attributes that were found.
    pub const ATTRIBUTES: u32 = 29;
    /// Begins a task that is written in Python, which the window holds.
    pub const INSTANCE: u32 = 30;
    /// Looks at the next variable, or place on its stack, of a frame that executes on another stack than its thread's.
    pub const FRAME_SLOT: u32 = 31;
    /// Goes on with a part of these that was read.
    pub const FRAME_SLOTS: u32 = 32;
    /// Looks at the object in such a place.
    pub const SLOT_OBJECT: u32 = 33;
    /// Looks at the frame of that object, where it is an object of its own.
    pub const SLOT_FRAME: u32 = 34;
    /// Goes on from a task's chain to what is read besides.
    pub const ASIDE: u32 = 35;
    /// Looks at the future that wakes the task, which is not the terminal awaitable.
    pub const FUT_WAITER: u32 = 36;
    /// Begins with the object that names the task.
    pub const NAME: u32 = 37;
    /// Takes some of its words.
    pub const NAME_WORDS: u32 = 38;
    /// Reads the first variable of a frame that is an object of its own.
    pub const FIRST_VARIABLE: u32 = 39;
    /// Begins with a task's callbacks.
    pub const LINKS: u32 = 40;
    /// Goes on to the next callback of a future.
    pub const NEXT_CALLBACK: u32 = 41;
    /// Looks at the list of a future's callbacks.
    pub const CALLBACKS: u32 = 42;
    /// Follows an item of that list to the callback.
    pub const CALLBACK_PAIR: u32 = 43;
    /// Goes on to that callback.
    pub const CALLBACK_OF_PAIR: u32 = 44;
    /// Looks at a callback.
    pub const CALLBACK: u32 = 45;
    /// Looks at the tuple of a callback's cells, or of its arguments.
    pub const CELLS: u32 = 46;
    /// Takes what one of them refers to.
    pub const CELL: u32 = 47;
    /// Looks at what a callback leads to.
    pub const LINK: u32 = 48;
    /// Appends what was found to the record.
    pub const LINK_WORDS: u32 = 49;
}

/// Where in the registries a walk is, between two tasks.
pub(crate) mod place {
    /// Before the registry with the number [`super::Walk::root`].
    pub const BEFORE_ROOT: u32 = 0;
    /// Within a linked list.
    pub const IN_LIST: u32 = 1;
    /// Within a set.
    pub const IN_SET: u32 = 2;
}

/// Nodes of a linked list that a walk remembers, to find its place again after some of them were removed. A power of two.
pub(crate) const HISTORY: usize = 8;

/// Words for the attributes of a task. A power of two, since it is a mask.
pub(crate) const ATTRIBUTE_WORDS: usize = 8;
const _: () = assert!(attribute::COUNT <= ATTRIBUTE_WORDS);

/// A walk over all tasks of one thread: position, and the record that is being built.
///
/// All-zero bytes are a valid initial state.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Walk {
    pub(crate) record: Record,
    /// The object that is looked at, and the part of a registry's table around `slot`: [`OBJECT`] and [`TABLE`].
    pub(crate) windows: [Window; 2],
    /// What the next step reads first: an address for the window `wanted_window`, or 0.
    wanted: u64,
    wanted_window: u32,
    /// 1 if that could be read.
    pub(crate) is_loaded: u32,
    /// What the next step reads first where no window is wanted: the address of a word, or 0.
    wanted_word: u64,
    /// The word that was read, 0 where it could not be.
    pub(crate) word: u64,
    pub(crate) phase: u32,
    /// One of [`place`].
    pub(crate) place: u32,
    pub(crate) root: u32,
    pub(crate) root_address: u64,
    /// Nodes or slots of the registries that this pass has visited.
    pub(crate) visited: u64,
    /// The node to visit; the list's head ends it.
    pub(crate) node: u64,
    /// The node before `node`.
    pub(crate) last_node: u64,
    /// The node after `node`.
    pub(crate) next_node: u64,
    /// The nodes visited last, and where the latest one is.
    pub(crate) history: [u64; HISTORY],
    pub(crate) history_at: u32,
    /// Nodes of the history that turned out to be removed.
    pub(crate) history_tried: u32,
    pub(crate) slot: u64,
    pub(crate) set_mask: u64,
    pub(crate) set_table: u64,
    /// The object to look at next.
    pub(crate) object: u64,
    /// The frame of `object`, where it is an object of its own.
    pub(crate) frame: u64,
    /// The instruction that a suspended frame goes on with.
    pub(crate) instruction: u64,
    /// 1 while somebody sends something to `object`, whose frame is an object of its own.
    pub(crate) is_driven: u32,
    /// Objects of this chain so far.
    pub(crate) objects: u32,
    /// Which of the layout's wrappers the object is.
    pub(crate) wrapper: u32,
    /// Frames of this chain so far that belong to coroutines without a Python frame.
    pub(crate) opaque_frames: u32,
    /// Which of the layout's shapes the task has, where it is written in Python.
    pub(crate) shape: u32,
    /// What the attributes of that task are, as far as they were found, by `awaitwhat_common::layout::attribute`.
    pub(crate) attributes: [u64; ATTRIBUTE_WORDS],
    /// The attribute whose value is wanted.
    pub(crate) attribute: u32,
    /// The part of the dict's entries that the window holds, where in it the next one is, and bytes of each.
    pub(crate) entries: u64,
    pub(crate) entry: u64,
    pub(crate) entry_bytes: u64,
    /// Entries of the dict that are not yet looked at.
    pub(crate) entries_left: u64,
    /// Where the value of the next entry is, and bytes from one value to the next: they are apart from the keys where these are shared.
    pub(crate) value: u64,
    pub(crate) value_stride: u64,
    /// Where the first variables are of the innermost frame and of the one that awaits it, where frames are objects of their own.
    pub(crate) variables: [u64; 2],
    /// The callbacks of the future that is looked at: the first one, and the list of the others.
    pub(crate) callback0: u64,
    pub(crate) callbacks: u64,
    /// Where the next item of that list is, and how many there are.
    pub(crate) pair: u64,
    pub(crate) pairs_left: u64,
    /// The next one of a callback's cells, or arguments, and how many there are.
    pub(crate) cell: u64,
    pub(crate) cells: u64,
    /// 1 where what the window holds is a tuple of arguments, not of cells.
    pub(crate) are_arguments: u32,
    /// 1 while the attributes are looked at of a future that callbacks led to.
    pub(crate) is_linking: u32,
    /// Steps so far for what the task's callbacks lead to.
    pub(crate) link_steps: u32,
    /// What they lead to so far, how many these are, how many of them were looked at, and, where that is not all,
    /// how many callbacks there are.
    pub(crate) links: [u64; MAX_LINKS],
    pub(crate) link_count: u32,
    pub(crate) links_seen: u32,
    pub(crate) links_cut: u32,
    /// Callbacks of the task itself.
    pub(crate) own_callbacks: u32,
    /// The only callback of the last task of this slice, to which `links` belong, or 0: all tasks of a `gather` have one and the same.
    pub(crate) links_of: u64,
    /// Words of the object that names the task that are still to be taken.
    pub(crate) name_words: u32,
    /// 1 where the task is of a type that the layout does not know, and to be sent all the same.
    pub(crate) is_stranger: u32,
    /// A `TaskState`.
    pub(crate) state: u32,
    /// A `TaskStatus`.
    pub(crate) status: u32,
    /// The frame that ends a running task's chain; 0 for the outermost one of a coroutine.
    pub(crate) last_frame: u64,
    /// Frames of the record up to the outermost coroutine.
    pub(crate) coroutine_frames: u32,
    /// Frames of the thread behind the outermost coroutine so far.
    pub(crate) base_frames: u32,
    /// Frames of the thread so far.
    pub(crate) thread_frames: u32,
    /// The thread's current frame, with which its own frames begin.
    pub(crate) current_frame: u64,
    /// One of [`crate::apart::apart`].
    pub(crate) apart: u32,
    /// Places of frames that are looked at yet, for this task and of `frame`; the next one of that, and the frame of what is there.
    pub(crate) apart_slots: u32,
    pub(crate) frame_slots: u32,
    pub(crate) frame_slot: u64,
    pub(crate) slot_frame: u64,
    /// 1 while the record is that of whatever runs in the thread, made once at the start of a slice.
    pub(crate) is_tick: u32,
    /// The flags of its records ([`flags`]).
    flags: u32,
    /// Steps so far, of all slices.
    steps: u32,
    /// 1 when the slice's budget is used up.
    is_over_budget: u32,
    /// Tasks that this slice has done with, and parts of tables that it has read.
    pub(crate) slice_tasks: u32,
    pub(crate) slice_parts: u32,
    /// Number of the pass, from 1 on; 0 before the first.
    pass: u64,
    /// Records that could not be sent, ever.
    lost: u64,
    /// How the slice has ended, a [`SliceStatus`]. It is kept here and not by whoever drives the walk, as the kernel verifies the steps again for
    /// each value that it finds on the stack that they are driven from.
    ended: u64,
    /// Switches of the thread when the pass began.
    pass_switches: u64,
    /// 1 while the thread has not run since the pass began.
    pass_is_whole: u32,
    /// 1 when a pass is complete that was whole: it holds while `pass_switches` does not change.
    complete_is_whole: u32,
}

impl Walk {
    /// A walk that has not begun.
    pub const NEW: Self = Self {
        record: Record::EMPTY,
        windows: [Window::EMPTY; 2],
        wanted: 0,
        wanted_window: 0,
        is_loaded: 0,
        wanted_word: 0,
        word: 0,
        phase: 0,
        place: 0,
        root: 0,
        root_address: 0,
        visited: 0,
        node: 0,
        last_node: 0,
        next_node: 0,
        history: [0; HISTORY],
        history_at: 0,
        history_tried: 0,
        slot: 0,
        set_mask: 0,
        set_table: 0,
        object: 0,
        frame: 0,
        instruction: 0,
        is_driven: 0,
        objects: 0,
        wrapper: 0,
        opaque_frames: 0,
        shape: 0,
        attributes: [0; ATTRIBUTE_WORDS],
        attribute: 0,
        entries: 0,
        entry: 0,
        entry_bytes: 0,
        entries_left: 0,
        value: 0,
        value_stride: 0,
        variables: [0; 2],
        callback0: 0,
        callbacks: 0,
        pair: 0,
        pairs_left: 0,
        cell: 0,
        cells: 0,
        are_arguments: 0,
        is_linking: 0,
        link_steps: 0,
        links: [0; MAX_LINKS],
        link_count: 0,
        links_seen: 0,
        links_cut: 0,
        own_callbacks: 0,
        links_of: 0,
        name_words: 0,
        is_stranger: 0,
        state: 0,
        status: 0,
        last_frame: 0,
        coroutine_frames: 0,
        base_frames: 0,
        thread_frames: 0,
        current_frame: 0,
        apart: 0,
        apart_slots: 0,
        frame_slots: 0,
        frame_slot: 0,
        slot_frame: 0,
        is_tick: 0,
        flags: 0,
        steps: 0,
        is_over_budget: 0,
        slice_tasks: 0,
        slice_parts: 0,
        pass: 0,
        lost: 0,
        ended: 0,
        pass_switches: 0,
        pass_is_whole: 0,
        complete_is_whole: 0,
    };

    /// The number of what the next step does: tests tell by it where walks come.
    pub fn phase(&self) -> u32 {
        self.phase
    }

    /// Whether the last complete pass still holds: it was made in one piece, and the thread has not run since.
    #[inline(always)]
    pub fn is_unchanged(&self, switches: u64) -> bool {
        self.complete_is_whole == 1 && self.pass_switches == switches
    }

    /// Begins a slice: `time` and `runtime` are in ns, `switches` is how often the thread has left a CPU so far.
    ///
    /// The first record of a slice is that of whatever task runs in the thread; then the pass goes on where it stopped.
    #[inline(always)]
    pub fn begin_slice(
        &mut self,
        layout: &Layout,
        plan: &ThreadPlan,
        in_context: bool,
        time: u64,
        runtime: u64,
        switches: u64,
    ) {
        if self.place == place::BEFORE_ROOT && self.root == 0 {
            self.pass += 1;
            self.visited = 0;
            self.pass_switches = switches;
            self.pass_is_whole = 1;
        } else if self.pass_switches != switches || in_context {
            self.pass_is_whole = 0;
        }
        self.complete_is_whole = 0;
        self.flags = u32::from(flags::of_walk(in_context, plan.slot));
        self.record
            .set(task::THREAD, u64::from(plan.tid) | u64::from(plan.tgid) << 32);
        self.record.set(task::TIME, time);
        self.record.set(task::RUNTIME, runtime);
        self.record.set(task::PASS, self.pass);
        self.record.set_layout(plan.layout);
        self.record.begin(0, 0, 0, 0, 0, 0);
        self.wanted = 0;
        self.is_over_budget = 0;
        self.slice_tasks = 0;
        self.slice_parts = 0;
        self.links_of = 0;
        self.is_linking = 0;
        self.begin_running(layout, plan, 1, 0);
    }

    /// Begins a slice that walks nothing: the thread runs, or has not run since the last complete pass.
    #[inline(always)]
    pub fn begin_empty_slice(&mut self, plan: &ThreadPlan, time: u64, runtime: u64) {
        self.flags = u32::from(flags::of_walk(false, plan.slot));
        self.record
            .set(task::THREAD, u64::from(plan.tid) | u64::from(plan.tgid) << 32);
        self.record.set(task::TIME, time);
        self.record.set(task::RUNTIME, runtime);
    }

    /// Says that the thread waits for a CPU, in a slice that has just begun.
    #[inline(always)]
    pub fn set_waits_for_cpu(&mut self, waits: bool) {
        self.flags |= u32::from(waits) * u32::from(flags::WAITS_FOR_CPU);
    }

    /// Does one bounded step: at most one read, then the phase that waits for it.
    ///
    /// That there is only one place that reads keeps the program small that the kernel has to verify at every start.
    #[inline(always)]
    pub fn step<H: Host>(&mut self, layout: &Layout, plan: &ThreadPlan, host: &mut H) -> Flow {
        self.read(host);
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS_PER_CHECK) && host.is_over_budget() {
            self.is_over_budget = 1;
        }
        match self.phase {
            phase::ROOT => self.begin_root(layout, plan, host),
            phase::RESUME_LIST => self.resume_list(host),
            phase::RESUME_SET => self.resume_set(layout, host),
            phase::NODE => self.visit_node(layout, plan),
            phase::SLOT => self.visit_slot(plan),
            phase::SLOTS => self.take_slots(host),
            phase::WEAK_REFERENCE => self.follow_weak_reference(layout, host),
            phase::TASK => self.begin_task(layout, plan, host),
            phase::CHAIN => self.visit_object(layout, plan),
            phase::STACK => self.find_awaited(layout),
            phase::AWAITED => self.take_awaited(layout),
            phase::TERMINAL => self.visit_terminal(layout),
            phase::FINISH => self.finish_record(host),
            phase::OPCODE => self.check_opcode(layout),
            phase::HEAP_FRAME => self.visit_heap_frame(layout, plan),
            phase::CODE => self.find_instruction(layout),
            phase::NAME => self.visit_name(layout, plan),
            phase::NAME_WORDS => self.take_name_words(layout, plan),
            phase::LINKS => self.begin_links(),
            phase::NEXT_CALLBACK => self.choose_callback(layout),
            phase::CALLBACK => self.visit_callback(layout),
            phase::CELLS => self.visit_cells(layout),
            phase::CELL => self.take_cell(layout),
            phase::LINK => self.visit_link(layout),
            phase::LINK_WORDS => self.send_links(),
            phase::ATTRIBUTES => self.take_attributes(layout, plan, host),
            phase::ASIDE => self.begin_aside(layout, plan),
            phase::NEXT_ROOT => self.choose_root(plan, host),
            _ => {
                H::rare_step(self, layout, plan);
                Flow::Continue
            }
        }
    }

    /// Reads what the last step wanted: a window, or a word. From one place, as the verifier follows whatever reads from each place that it is
    /// called from.
    #[inline(always)]
    fn read<H: Host>(&mut self, host: &mut H) {
        let is_window = self.wanted != 0;
        let address = if is_window { self.wanted } else { self.wanted_word };
        if address == 0 {
            return;
        }
        let window = if is_window {
            Some(self.windows[self.wanted_window as usize & 1].move_to(address))
        } else {
            None
        };
        let word = if is_object_address(address) {
            host.read(address, window)
        } else {
            None
        };
        if is_window {
            self.is_loaded = u32::from(word.is_some());
            self.wanted = 0;
        } else {
            self.word = word.unwrap_or(0);
            self.wanted_word = 0;
        }
    }

    /// Does what is left of a step in a phase that needs no host, and that is none of those that each task goes through.
    #[inline(always)]
    pub fn rare_step(&mut self, layout: &Layout, plan: &ThreadPlan) {
        let _: Flow = match self.phase {
            phase::RESUME_BEHIND => self.resume_behind(),
            phase::CFRAME => self.follow_cframe(layout),
            phase::CURRENT_FRAME => self.take_current_frame(layout),
            phase::FRAME => self.visit_frame(layout, plan),
            phase::INSTANCE => self.begin_instance(layout),
            phase::VALUES_POINTER => self.follow_values_pointer(layout),
            phase::DICT_POINTER => self.follow_dict_pointer(),
            phase::DICT => self.follow_dict(layout),
            phase::WRAPPER => self.visit_wrapper(layout, plan),
            phase::VALUES => self.visit_values(layout),
            phase::KEYS => self.find_entries(layout),
            phase::ENTRY => self.visit_entry(layout),
            phase::ENTRY_VALUE => self.take_entry_value(),
            phase::FRAME_SLOT => self.visit_frame_slot(layout),
            phase::FRAME_SLOTS => self.take_frame_slots(layout),
            phase::SLOT_OBJECT => self.visit_slot_object(layout),
            phase::SLOT_FRAME => self.visit_slot_frame(layout),
            phase::FUT_WAITER => self.visit_fut_waiter(layout, plan),
            phase::FIRST_VARIABLE => self.take_first_variable(plan),
            phase::CALLBACKS => self.visit_callbacks(layout),
            phase::CALLBACK_PAIR => self.follow_pair(layout),
            phase::CALLBACK_OF_PAIR => self.follow_callback(),
            _ => Flow::Continue,
        };
    }

    /// Whether the slice's budget is used up.
    #[inline(always)]
    pub(crate) fn is_over_budget(&self) -> bool {
        self.is_over_budget == 1
    }

    /// The object that was wanted last.
    #[inline(always)]
    pub(crate) fn window(&self) -> &Window {
        &self.windows[OBJECT]
    }

    /// Whether what was wanted for a window could be read.
    #[inline(always)]
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded == 1
    }

    /// Goes on with `phase` once the object at `address` is read. Address 0 is like any other that cannot be read.
    #[inline(always)]
    pub(crate) fn want(&mut self, address: u64, phase: u32) {
        self.want_for(OBJECT, address, phase);
    }

    /// Goes on with `phase` once the part of a table at `address` is read.
    #[inline(always)]
    pub(crate) fn want_table(&mut self, address: u64, phase: u32) {
        self.want_for(TABLE, address, phase);
    }

    #[inline(always)]
    fn want_for(&mut self, window: usize, address: u64, phase: u32) {
        self.is_loaded = 0;
        self.wanted = address;
        self.wanted_window = window as u32;
        self.phase = phase;
    }

    /// Goes on with `phase` once the word at `address` is read.
    #[inline(always)]
    pub(crate) fn want_word(&mut self, address: u64, phase: u32) {
        self.word = 0;
        self.wanted_word = address;
        self.phase = phase;
    }

    /// Says how the slice has ended.
    #[inline(always)]
    pub fn set_ended(&mut self, status: SliceStatus) {
        self.ended = status as u64;
    }

    /// How the slice has ended.
    #[inline(always)]
    pub fn ended(&self) -> SliceStatus {
        SliceStatus::from_u8(self.ended as u8).unwrap_or(SliceStatus::Budget)
    }

    /// Counts records that could not be sent.
    #[inline(always)]
    pub fn count_lost(&mut self, records: u64) {
        self.lost = self.lost.wrapping_add(records);
    }

    /// The words of the record that ends a slice. `duration` is in ns.
    #[inline(always)]
    pub fn end_slice(&mut self, status: SliceStatus, duration: u64) -> [u64; SLICE_WORDS] {
        if matches!(status, SliceStatus::PassComplete) {
            self.complete_is_whole = self.pass_is_whole;
        }
        let mut words = [0; SLICE_WORDS];
        words[HEAD] = u64::from(kind::SLICE) | (status as u64) << 8 | u64::from(self.flags) << 24;
        words[task::THREAD] = self.record.get(task::THREAD);
        words[task::TIME] = self.record.get(task::TIME);
        words[task::RUNTIME] = self.record.get(task::RUNTIME);
        words[task::PASS] = self.pass;
        words[slice::DURATION] = duration;
        words[slice::LOST] = self.lost;
        words
    }

    /// Ends the walk of a task's chain with `status`; what is known of it is sent, unless it is torn.
    #[inline(always)]
    pub(crate) fn end_task(&mut self, status: TaskStatus) -> Flow {
        if self.is_linking == 1 {
            // A future that cannot be read ends what is known of the task's awaiters, and not the task.
            return self.end_linking();
        }
        self.status = status as u32;
        self.phase = match status {
            TaskStatus::Complete | TaskStatus::Truncated => phase::ASIDE,
            _ => phase::FINISH,
        };
        Flow::Continue
    }

    /// Starts the pass anew, as the registry changed underneath; unless the change is one that the host can tell.
    #[inline(always)]
    pub(crate) fn restart<H: Host>(&mut self, host: &mut H) -> Flow {
        self.root = 0;
        self.place = place::BEFORE_ROOT;
        self.visited = 0;
        self.pass_is_whole = 0;
        contradiction(host)
    }

    /// Sends the record, unless the thread ran while it was built: then the next slice visits the same task again.
    #[inline(always)]
    fn finish_record<H: Host>(&mut self, host: &mut H) -> Flow {
        if !host.is_undisturbed() {
            return Flow::Done(SliceStatus::Disturbed);
        }
        let status = match self.status {
            0 => TaskStatus::Complete,
            1 => TaskStatus::Truncated,
            2 if host.is_refused() => TaskStatus::Refused,
            2 => TaskStatus::Fault,
            4 => TaskStatus::Opaque,
            _ => TaskStatus::Torn,
        };
        let state = match self.state {
            1 => TaskState::Running,
            2 => TaskState::Created,
            _ => TaskState::Waiting,
        };
        let is_apart = matches!(state, TaskState::Running) && self.apart != stack::THREAD;
        let flags = self.flags | if is_apart { u32::from(flags::APART) } else { 0 };
        self.record.finish(status, state, flags);
        if self.is_tick == 1 {
            // Nothing ran, unless it was too deep to be told.
            if self.record.frames() != 0 || !matches!(status, TaskStatus::Complete) {
                self.emit(host);
            }
            self.is_tick = 0;
            self.resume();
            return Flow::Continue;
        }
        self.emit(host);
        self.go_on()
    }

    #[inline(always)]
    fn emit<H: Host>(&mut self, host: &mut H) {
        self.lost += u64::from(!host.emit(&self.record));
    }
}

/// Ends a slice in which a registry contradicts itself: it is torn, unless the thread has run, which explains it.
#[inline(always)]
pub(crate) fn contradiction<H: Host>(host: &mut H) -> Flow {
    Flow::Done(if host.is_undisturbed() {
        SliceStatus::RegistryTorn
    } else {
        SliceStatus::Disturbed
    })
}
