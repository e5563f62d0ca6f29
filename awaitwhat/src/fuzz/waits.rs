//! What tasks wait for, and which of that others have: the readers behind the rules.

use foldhash::HashSet;

use super::objects::Planter;
use super::readers::run;
use super::world::Kind;
use crate::memory::Address;
use crate::snapshot::Frame;
use crate::symbolize::CodeCache;
use crate::waits::{Reader, Waiting};

/// Functions that rules know, each with its file and the class of its `self`.
const WAITS: [(&str, &str, &str); 7] = [
    ("Lock.acquire", "/lib/asyncio/locks.py", "Lock"),
    ("Semaphore.acquire", "/lib/asyncio/locks.py", "Semaphore"),
    ("Event.wait", "/lib/asyncio/locks.py", "Event"),
    ("Queue.get", "/lib/asyncio/queues.py", "Queue"),
    (
        "StreamReader._wait_for_data",
        "/lib/asyncio/streams.py",
        "StreamReader",
    ),
    ("StreamWriter.drain", "/lib/asyncio/streams.py", "StreamWriter"),
    ("Pool._acquire", "/lib/asyncpg/pool.py", "Pool"),
];

impl Planter {
    /// Coroutines that wait in functions which rules are for. All of their objects have the attributes that any of these rules asks for.
    pub(super) fn plant_waits(&mut self) {
        let iterator_type = Address(self.layout.wrappers[0].type_address);
        let header = self.heap.offsets.header_bytes();
        let (number, text) = (self.number(&[3, 0, 0]), self.heap.text("GET"));
        let buffer = self.heap.bytes(&[1, 2, 3]);
        for (function, file, class) in WAITS {
            let future = self.heap.object(self.futures.future, 192);
            let iterator = self.heap.object(iterator_type, 64);
            self.heap.set(iterator, header, future.0);
            let line = self.deque_of(future);
            let list = self.heap.list(&[future, number]);
            let class = self.new_type(class, 0, 64, &[]);
            let inner = self.instance(class, &[("_buffer", buffer), ("_waiter", future)]);
            let attributes = [
                ("_buffer", buffer),
                ("_con", text),
                ("_getters", line),
                ("_holder", inner),
                ("_holders", list),
                ("_locked", number),
                ("_maxsize", number),
                ("_pool", inner),
                ("_queue", list),
                ("_transport", inner),
                ("_value", number),
                ("_waiter", future),
                ("_waiters", line),
            ];
            let object = self.instance(class, &attributes);
            let code = self.code(function, file, &["self"]);
            let waiter = self.coroutine(code, object, iterator);
            self.plant(Kind::Waiter, waiter);
            self.plant(Kind::Awaited, future);
            self.plant(Kind::Awaitable, object);
        }
    }
}

#[test]
fn fuzz_waits() {
    let places = [
        ("resource", 0),
        ("resource", 1),
        ("resource", 3),
        ("is named", 0),
        ("is named", 1),
        ("is in line", 1),
        ("held", 0),
        ("held", 3),
        ("is_group", 0),
        ("python_state", 0),
        ("future_label", 0),
    ];
    run("waits", 2000, &places, |world, memory, choices, reached| {
        let frames = world.frames(memory);
        let mut codes = CodeCache::default();
        let mut reader = Reader::new(frames, Some(world.futures), choices.once_in(2));
        for _ in 0..=choices.below(3) {
            let kind = choices.pick(&[Kind::Waiter, Kind::Waiter, Kind::Waiter, Kind::Coroutine]);
            let coroutine = world.pick(choices, kind);
            let chain = memory.call(reached, "chain_frames", || frames.chain_frames(coroutine));
            let mut chain = chain.unwrap_or_default();
            chain.reverse();
            let places: Vec<_> = chain.iter().map(|it| (it.code, Address::NULL)).collect();
            let objects = world.objects(memory);
            let stack: Option<Vec<Frame>> = places
                .iter()
                .map(|(code, at)| memory.bounded(|| codes.frame(&objects, *code, *at)).ok())
                .collect();
            let task = Waiting {
                coroutine,
                stack: &stack.unwrap_or_default(),
                codes: &places,
                awaited: world.pick(choices, Kind::Awaited),
                is_pending: choices.once_in(2),
                now: choices.once_in(2).then_some(12.5),
            };
            let found = memory.call(reached, "resource", || reader.resource(&task));
            let resource = found.flatten();
            reached.note_option("is named", &resource);
            let place = resource.as_ref().and_then(|resource| resource.position);
            reached.note_option("is in line", &place);
            let wanted: HashSet<Address> = resource
                .and_then(|resource| resource.id)
                .into_iter()
                .chain([world.pick(choices, Kind::Awaitable)])
                .collect();
            memory.call(reached, "held", || reader.held(&task, &wanted));
            let object = world.pick(choices, Kind::Awaitable);
            memory.call(reached, "is_group", || reader.is_group(object));
            memory.call(reached, "python_state", || reader.python_state(object));
            memory.call(reached, "future_label", || reader.future_label(&task));
        }
    });
}
