//! Tasks. Facts: `Modules/_asynciomodule.c` (`TaskObj`, `FutureObj_HEAD`).

use awaitwhat_common::event::TaskState;
use awaitwhat_common::layout::{ABSENT, Layout};
use awaitwhat_common::limits::MAX_FOREIGN_LOOPS;
use awaitwhat_common::plan::ThreadPlan;
use awaitwhat_common::status::TaskStatus;

use crate::host::Host;
use crate::walk::{Flow, Walk, contradiction, phase, place};

/// `STATE_PENDING` of `fut_state`.
const PENDING: u32 = 0;

impl Walk {
    #[inline(always)]
    pub(crate) fn begin_task<H: Host>(&mut self, layout: &Layout, plan: &ThreadPlan, host: &mut H) -> Flow {
        let is_readable = self.is_loaded();
        if self.place == place::IN_LIST && !(is_readable && self.take_links(layout)) {
            // The next slice finds its place by the nodes that it visited.
            return contradiction(host);
        }
        if !is_readable {
            // What it is cannot be told either.
            self.record.begin(self.object, 0, 0, 0, 0, 0);
            return self.end_task(TaskStatus::Fault);
        }
        self.objects = 0;
        self.opaque_frames = 0;
        let task_type = self.window().word(u64::from(layout.object_type));
        self.is_stranger = plan.sends_strangers & u32::from(task_type != layout.task_type);
        if self.find_shape(layout, task_type) {
            self.phase = phase::INSTANCE;
            return Flow::Continue;
        }
        let window = self.window();
        let event_loop = window.word(u64::from(layout.task_loop));
        let coro = window.word(u64::from(layout.task_coro));
        let (name, fut_waiter) = (
            if layout.task_name == ABSENT {
                0
            } else {
                window.word(u64::from(layout.task_name))
            },
            window.word(u64::from(layout.task_fut_waiter)),
        );
        let callbacks = (
            window.word(u64::from(layout.links.callback0)),
            window.word(u64::from(layout.links.callbacks)),
        );
        (self.callback0, self.callbacks) = callbacks;
        self.record
            .begin(self.object, task_type, name, event_loop, fut_waiter, coro);
        if layout.task_cancellations != ABSENT {
            let cancellations = self.window().half(u64::from(layout.task_cancellations));
            self.record.set_cancellations(cancellations);
        }
        self.state = TaskState::Waiting as u32;
        let is_pending =
            layout.task_state == ABSENT || self.window().half(u64::from(layout.task_state)) == PENDING;
        self.begin_chain(plan, host, is_pending, coro, event_loop)
    }

    /// Goes on to the coroutine of the task that the record is about, unless it is done or another thread's.
    #[inline(always)]
    pub(crate) fn begin_chain<H: Host>(
        &mut self,
        plan: &ThreadPlan,
        host: &mut H,
        is_pending: bool,
        coro: u64,
        event_loop: u64,
    ) -> Flow {
        if !is_pending || coro == 0 || !is_of_plan(plan, event_loop) {
            return if self.is_stranger == 1 {
                self.end_task(TaskStatus::Opaque)
            } else {
                self.skip(host)
            };
        }
        self.object = coro;
        self.variables = [0; 2];
        self.want(coro, phase::CHAIN);
        Flow::Continue
    }
}

/// Whether the plan's thread is the one to visit tasks of `event_loop`.
#[inline(always)]
fn is_of_plan(plan: &ThreadPlan, event_loop: u64) -> bool {
    if plan.event_loop != 0 {
        return plan.event_loop == event_loop;
    }
    let mut is_foreign = false;
    for at in 0..MAX_FOREIGN_LOOPS {
        is_foreign |= plan.foreign_loops[at] == event_loop;
    }
    !is_foreign
}
