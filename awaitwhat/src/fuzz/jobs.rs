//! Jobs of `concurrent.futures`: a future that is chained to one, items of work, and the queue that these stand in.

use super::objects::Planter;
use super::readers::run;
use super::world::Kind;
use crate::layout::SimpleQueue;
use crate::memory::Address;
use crate::python::executor::Chained;

/// What a future that is chained to another one has as a callback.
const CHAINED: &str = "_chain_future.<locals>._call_check_cancel";
/// Bytes of a future of `_asyncio`, of a queue, and of what a call is made of.
const FUTURE_BYTES: u64 = 192;
const QUEUE_BYTES: u64 = 96;
const CALLABLE_BYTES: u64 = 64;

impl Planter {
    pub(super) fn plant_jobs(&mut self) {
        let (pending, file) = (self.heap.text("PENDING"), "/lib/asyncio/futures.py");
        let class = self.new_type("Future", 0, 64, &[]);
        let task = self.heap.object(self.futures.task, FUTURE_BYTES);
        let back = self.chained(file, task);
        let callbacks = self.heap.list(&[back]);
        let job = self.instance(class, &[("_state", pending), ("_done_callbacks", callbacks)]);
        self.plant(Kind::Job, job);
        let chained = self.chained(file, job);
        let future = self.heap.object(self.futures.future, FUTURE_BYTES);
        self.heap
            .set(future, self.heap.offsets.future.callback0, chained.0);
        self.plant(Kind::Awaitable, future);
        let partial = self.partial(chained);
        let arguments = self.heap.tuple(&[partial]);
        let class = self.new_type("_WorkItem", 0, 64, &[]);
        let before = self.instance(class, &[("future", job), ("fn", partial)]);
        let since = self.instance(class, &[("future", job), ("task", arguments)]);
        for item in [before, since] {
            self.plant(Kind::WorkItem, item);
        }
        self.plant_queue(&[before, since]);
    }

    /// A function with two variables from around it.
    fn chained(&mut self, file: &str, source: Address) -> Address {
        let code = self.code(CHAINED, file, &["destination", "dest_loop", "source"]);
        let offsets = self.heap.offsets;
        let cells = [Address::NULL, source].map(|value| {
            let cell = self.heap.object(self.heap.types.cell, 64);
            self.heap.set(cell, offsets.cell_contents, value.0);
            cell
        });
        let (name, closure) = (self.heap.text(CHAINED), self.heap.tuple(&cells));
        let function = self.heap.object(self.heap.types.function, 256);
        self.heap.set(function, offsets.function.code, code.0);
        self.heap.set(function, offsets.function.closure, closure.0);
        self.heap.set(function, offsets.function.qualified_name, name.0);
        self.plant(Kind::Function, function)
    }

    fn partial(&mut self, function: Address) -> Address {
        let header = self.heap.offsets.header_bytes();
        let class = self.new_type("functools.partial", 0, CALLABLE_BYTES, &[]);
        let arguments = self.heap.tuple(&[function]);
        let partial = self.heap.object(class, CALLABLE_BYTES);
        self.heap.set(partial, header, function.0);
        self.heap.set(partial, header + 8, arguments.0);
        self.plant(Kind::Function, partial)
    }

    fn plant_queue(&mut self, items: &[Address]) {
        let header = self.heap.offsets.header_bytes();
        let class = self.new_type("_queue.SimpleQueue", 0, QUEUE_BYTES, &[]);
        let queue = self.heap.object(class, QUEUE_BYTES);
        let words = match self.heap.offsets.simple_queue {
            SimpleQueue::List { list, position } => vec![(list, self.heap.list(items).0), (position, 0)],
            SimpleQueue::Ring {
                first,
                items: array,
                capacity,
                count,
            } => {
                let place = self.heap.allocate(8 * items.len() as u64);
                for (at, item) in (0..).step_by(8).zip(items) {
                    self.heap.set(place, at, item.0);
                }
                let length = items.len() as u64;
                vec![(first, 1), (array, place.0), (capacity, length), (count, length)]
            }
        };
        for (offset, word) in words {
            self.heap.set(queue, header + offset, word);
        }
        self.plant(Kind::Queue, queue);
    }
}

#[test]
fn fuzz_jobs() {
    let places = [
        ("job_behind", 0),
        ("job_behind", 1),
        ("job_behind", 3),
        ("job", 0),
        ("job", 1),
        ("task_behind", 0),
        ("task", 1),
        ("job_state", 0),
        ("work_item_future", 0),
        ("work_item_function", 0),
        ("function", 1),
        ("callable_name", 0),
        ("simple_queue_items", 0),
        ("simple_queue_items", 3),
        ("items", 2),
    ];
    run("jobs", 4000, &places, |world, memory, choices, reached| {
        let objects = world.objects(memory);
        let (future, job) = (
            world.pick(choices, Kind::Awaitable),
            world.pick(choices, Kind::Job),
        );
        let mut known = Chained::default();
        let found = memory.call(reached, "job_behind", || {
            objects.job_behind(future, &world.futures, &mut known)
        });
        reached.note_option("job", &found.flatten());
        let found = memory.call(reached, "task_behind", || objects.task_behind(job, &mut known));
        reached.note_option("task", &found.flatten());
        memory.call(reached, "job_state", || objects.job_state(job));
        let item = world.pick(choices, Kind::WorkItem);
        memory.call(reached, "work_item_future", || objects.work_item_future(item));
        let found = memory.call(reached, "work_item_function", || objects.work_item_function(item));
        reached.note_option("function", &found.flatten());
        let function = world.pick(choices, Kind::Function);
        memory.call(reached, "callable_name", || objects.callable_name(function));
        let queue = world.pick(choices, Kind::Queue);
        let found = memory.call(reached, "simple_queue_items", || {
            objects.simple_queue_items(queue)
        });
        reached.note("items", found.map_or(0, |items| items.len().min(9) as u32));
    });
}
