"""Tasks that wait for things of which each is known: it says for every task by its name what awaitwhat has to say of its wait."""
import asyncio
import sys

import truth

HAS_BARRIER = hasattr(asyncio, "Barrier")

# By the name of a task: what is known of its wait. A deadline is a moment of the loop's clock.
expected = {}
tasks = []


async def sleeper(seconds):
    await asyncio.sleep(seconds)


async def at_lock(lock):
    async with lock:
        pass


async def at_wait_for(awaitable):
    await asyncio.wait_for(awaitable, 700)


class Gate(asyncio.Semaphore):
    """Rules are about functions, and hold for derived classes."""


class Other:
    """What is no lock, but has a method of that name in a file of its own."""

    async def acquire(self):
        await asyncio.get_running_loop().create_future()


class Wrapped:
    """What is awaited is not the future that wakes the task."""

    def __init__(self, future):
        self.future = future

    def __await__(self):
        return self.future.__await__()


class Client:
    """Waits for futures of its own, which no rule knows."""

    def __init__(self):
        new = asyncio.get_running_loop().create_future
        self.replies = {1: new(), 2: new()}
        self.closed = new()
        self.wrapped = Wrapped(new())

    async def reply(self, number):
        await self.replies[number]

    async def wait_closed(self):
        await self.closed

    async def wait_wrapped(self):
        await self.wrapped


def identity(thing):
    return {"id": hex(id(thing)), "type": type(thing).__name__}


def start(name, coroutine, **facts):
    """A task, and what is to be told of what it waits for."""
    task = truth.create_task(coroutine, name)
    # A loop alone does not keep tasks that nothing else knows.
    tasks.append(task)
    expected[hex(id(task))] = {"name": name, **facts}
    return task


def locks():
    lock = asyncio.Lock()
    lock._locked = True
    for place in range(1, 4):
        start(f"lock-{place}", at_lock(lock), kind="lock", held=True, waiters=3, position=place, **identity(lock))
    gate = Gate(1)
    gate._value = 0
    start("gate", gate.acquire(), kind="semaphore", free=0, waiters=1, position=1, **identity(gate))
    bounded = asyncio.BoundedSemaphore(5)
    bounded._value = 0
    start("bounded", bounded.acquire(), kind="semaphore", free=0, limit=5, position=1, **identity(bounded))
    event = asyncio.Event()
    for number in range(2):
        start(f"event-{number}", event.wait(), kind="event", waiters=2, **identity(event))
    condition = asyncio.Condition()
    start("condition", at_condition(condition), kind="condition", waiters=1, position=1, **identity(condition))
    if HAS_BARRIER:
        barrier = asyncio.Barrier(3)
        for number in range(2):
            start(f"barrier-{number}", barrier.wait(), kind="barrier", size=2, limit=3, **identity(barrier))


async def at_condition(condition):
    async with condition:
        await condition.wait()


def queues():
    for kind in (asyncio.Queue, asyncio.LifoQueue, asyncio.PriorityQueue):
        name = kind.__name__
        empty, full = kind(), kind(maxsize=2)
        full.put_nowait(1)
        full.put_nowait(2)
        common = {"kind": "queue", "limit": 2, "size": 2, **identity(full)}
        for place in (1, 2):
            of_get = {"kind": "queue", "limit": 0, "size": 0, **identity(empty)}
            start(f"{name}-get-{place}", empty.get(), operation="get", waiters=2, position=place, **of_get)
        start(f"{name}-put", full.put(3), operation="put", waiters=1, position=1, **common)
        start(f"{name}-join", full.join(), operation="join", detail={"unfinished": 2}, **common)


def timers():
    for seconds in (300, 4000.5):
        start(f"sleep-{seconds}", sleeper(seconds), kind="timer", operation="sleep", deadline=True, lasts=seconds)
    forever = asyncio.get_running_loop().create_future()
    # From 3.12 on the task waits for the future itself, inside of a timeout.
    is_own = sys.version_info < (3, 12)
    facts = {"kind": "task", "operation": "wait_for", "deadline": True, "lasts": 700} if is_own else {}
    start("wait_for", at_wait_for(forever), **facts)
    if hasattr(asyncio, "timeout"):
        event = asyncio.Event()
        start("timeout", in_timeout(event), kind="event", deadline=True, **identity(event))
        other = asyncio.Event()
        if not is_own:
            start("wait_for event", at_wait_for(other.wait()), kind="event", deadline=True, **identity(other))


async def in_timeout(event):
    async with asyncio.timeout(900), asyncio.timeout(800):
        await event.wait()


def deadline(loop, task):
    """When the loop will end what the task waits for, by its clock: the first timer that completes it or is a timeout of the task."""
    awaited = task._fut_waiter

    def ends(timer):
        timeout = getattr(timer._callback, "__self__", None)
        return awaited in timer._args or getattr(timeout, "_task", None) is task

    return min(timer.when() for timer in loop._scheduled if ends(timer))


def others():
    start("other", Other().acquire(), kind="future", label="asyncio.get_running_loop().create_future()")
    client = Client()
    for number, future in client.replies.items():
        start(f"reply-{number}", client.reply(number), kind="future", label="self.replies[number]", **identity(future))
    start("closed", client.wait_closed(), kind="future", label="self.closed", **identity(client.closed))
    start("wrapped", client.wait_wrapped())


async def main():
    locks()
    queues()
    timers()
    others()
    await asyncio.get_running_loop().create_future()


def told():
    loop = asyncio.get_running_loop()
    for task in asyncio.all_tasks(loop):
        facts = expected.get(hex(id(task)), {})
        if "deadline" in facts:
            facts["deadline"] = deadline(loop, task)
    return {"expected": expected}


truth.run(main, ready=lambda: bool(expected), more=told)
