"""Tasks that wait for things that their code has names for: it says of each task what that name is."""

import asyncio
import contextlib
import sys

import truth

try:
    import anyio
except ImportError:
    anyio = None

# By the address of a task.
expected = {}
tasks = []
shared = None
# Before, `wait_for` has a task of its own wait.
WAITS_ITSELF = sys.version_info >= (3, 12)


class Derived(asyncio.Lock):
    async def acquire(self):
        return await super().acquire()

    async def take(self):
        await self.acquire()


class Service:
    __slots__ = ("slotted", "__dict__")

    def __init__(self):
        self.slotted = locked()
        self.lock = locked()
        self.other = locked()
        self.derived = locked(Derived())
        self.locks = {"a": locked(), 1: locked()}
        self.jobs = asyncio.Queue()
        self.gate = asyncio.Semaphore(0)
        self.event = asyncio.Event()
        self.condition = asyncio.Condition()

    @property
    def current(self):
        return self.lock

    async def with_attribute(self):
        async with self.lock:
            pass

    async def with_key(self):
        key = 1
        async with self.locks[key]:
            pass

    async def with_text_key(self):
        async with self.locks["a"]:
            pass

    async def by_property(self):
        async with self.current:
            pass

    async def by_slot(self):
        await self.slotted.acquire()

    async def getting(self):
        await self.jobs.get()

    async def passing(self):
        await self.gate.acquire()

    async def of_derived(self):
        async with self.derived:
            pass

    async def by_method_of_derived(self):
        await self.derived.take()

    async def at_condition(self):
        async with self.condition:
            await self.condition.wait_for(lambda: False)

    async def with_timeout(self):
        await asyncio.wait_for(self.event.wait(), 900)

    async def handed_to(self):
        await use(self.other)

    async def by_stack(self):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.lock)

    async def by_choice(self):
        await (self.lock if self.locks else self.other).acquire()

    async def by_variable(self):
        chosen = self.other
        await (chosen or self.lock).acquire()


class Streams:
    def __init__(self):
        self.sender, self.receiver = anyio.create_memory_object_stream(0)
        self.event = anyio.Event()

    async def receiving(self):
        await self.receiver.receive()

    async def iterating(self):
        async for _ in self.receiver:
            pass

    async def at_event(self):
        await self.event.wait()


def locked(lock=None):
    lock = lock or asyncio.Lock()
    lock._locked = True
    return lock


async def use(lock):
    async with lock:
        pass


async def of_module():
    async with shared:
        pass


def closure(lock):
    async def with_closure():
        async with lock:
            pass

    return with_closure()


def start(coroutine, label):
    task = asyncio.ensure_future(coroutine)
    tasks.append(task)
    expected[hex(id(task))] = label


async def main():
    global shared
    shared = locked()
    service = Service()
    for method, label in (
        (service.with_attribute, "self.lock"),
        (service.with_key, "self.locks[key]"),
        (service.with_text_key, "self.locks[…]"),
        (service.by_property, "self.current"),
        (service.by_slot, "self.slotted"),
        (service.getting, "self.jobs"),
        (service.passing, "self.gate"),
        (service.of_derived, "self.derived"),
        (service.by_method_of_derived, "self.derived"),
        (service.at_condition, "self.condition"),
        (service.handed_to, "lock"),
        (service.by_stack, "self.lock"),
        # Nothing says which.
        (service.by_choice, None),
        (service.by_variable, "chosen"),
    ):
        start(method(), label)
    if WAITS_ITSELF:
        start(service.with_timeout(), "self.event")
    if anyio is not None:
        streams = Streams()
        start(streams.receiving(), "self.receiver")
        start(streams.iterating(), "self.receiver")
        start(streams.at_event(), "self.event")
    start(of_module(), "shared")
    start(closure(locked()), "lock")
    # Nobody has called it anything.
    start(locked().acquire(), None)
    await asyncio.get_event_loop().create_future()


truth.run(main, ready=lambda: bool(expected), more=lambda: {"expected": expected})
