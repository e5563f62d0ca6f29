"""A server with known shares: it keeps its own account of the task-seconds at each of its await points.

Clients think, then fight over locks; producers fill a queue, which consumers empty. The one argument is the share of a core
that it is to be busy, in percent; at 100 its loop never rests. On the line `report` it prints its account so far, in which
waits that are still going on count up to that moment.
"""

import asyncio
import random
import sys
import time

import truth

CLIENTS, LOCKS, PRODUCERS, CONSUMERS, HOGS = 120, 4, 4, 40, 10
HOG_SECONDS = 0.0005
# How often the share of busy time is corrected.
CONTROL_SECONDS = 0.25

# Await point: function, and what it awaits there. The line is that of the comment `point: NAME`.
POINTS = {
    "think": ("think", "sleep"),
    "lock": ("Client.use_lock", asyncio.Lock.__aenter__.__qualname__),
    "hold": ("Client.use_lock", "sleep"),
    "get": ("consume", "Queue.get"),
    "serve": ("serve", "sleep"),
    "pace": ("produce", "sleep"),
    "yield": ("hog", "sleep"),
    "gather": ("main", "_GatheringFuture"),
}


class Wait:
    """Books the time of one wait, by the clock of the waiting task itself."""

    seconds = dict.fromkeys(POINTS, 0.0)
    open = set()
    __slots__ = ("point", "since")

    def __init__(self, point):
        self.point = point

    def __enter__(self):
        Wait.open.add(self)
        self.since = time.perf_counter()

    def __exit__(self, *exception):
        Wait.seconds[self.point] += time.perf_counter() - self.since
        Wait.open.discard(self)


class Load:
    """Computes at each step, for as long as makes the wanted share of the time."""

    def __init__(self, share):
        self.share = share
        self.step_seconds = 0.0
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        self.steps = 0

    def step(self):
        self.steps += 1
        compute(self.step_seconds)

    def control(self, loop):
        cpu, wall = time.process_time(), time.perf_counter()
        if self.steps:
            missing = self.share * (wall - self.wall) - (cpu - self.cpu)
            self.step_seconds = max(0.0, self.step_seconds + 0.5 * missing / self.steps)
        self.cpu, self.wall, self.steps = cpu, wall, 0
        loop.call_later(CONTROL_SECONDS, self.control, loop)


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def think(seconds):
    with Wait("think"):
        await asyncio.sleep(seconds)  # point: think


class Client:
    def __init__(self, lock, load):
        self.lock, self.load, self.rounds = lock, load, 0

    async def use_lock(self):
        wait = Wait("lock")
        wait.__enter__()
        async with self.lock:  # point: lock
            wait.__exit__()
            with Wait("hold"):
                await asyncio.sleep(0.05)  # point: hold

    async def run(self):
        # Clients that start at different times stay spread out.
        await think(random.uniform(0, 1.5))
        while True:
            await self.use_lock()
            self.load.step()
            self.rounds += 1
            await think(random.uniform(0.5, 1.5))


async def produce(queue, load):
    while True:
        queue.put_nowait(None)
        load.step()
        with Wait("pace"):
            await asyncio.sleep(random.uniform(0.02, 0.06))  # point: pace


async def serve():
    with Wait("serve"):
        await asyncio.sleep(0.2)  # point: serve


async def consume(queue, load):
    while True:
        with Wait("get"):
            await queue.get()  # point: get
        load.step()
        await serve()


async def hog():
    while True:
        compute(HOG_SECONDS)
        with Wait("yield"):
            await asyncio.sleep(0)  # point: yield


def lines():
    """The line of every await point."""
    with open(__file__, encoding="utf-8") as source:
        texts = list(source)
    found = {}
    for number, text in enumerate(texts, 1):
        _, marker, point = text.partition("# point: ")
        if marker and point.strip() in POINTS:
            found[point.strip()] = number
    return found


def report():
    now = time.perf_counter()
    seconds = dict(Wait.seconds)
    for wait in Wait.open:
        seconds[wait.point] += now - wait.since
    at = lines()
    points = [
        {
            "function": truth.shown_name(function),
            "file": __file__,
            "line": at[point],
            "awaits": truth.shown_name(awaits),
            "task_seconds": seconds[point],
        }
        for point, (function, awaits) in POINTS.items()
    ]
    tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    truth.announce({"at": now, "cpu_seconds": time.process_time(), "tasks": tasks, "points": points})


def announce_when_mixed(loop, clients):
    """Announces itself once every client has been through a round."""
    if all(client.rounds for client in clients):
        report()
    else:
        loop.call_later(0.05, announce_when_mixed, loop, clients)


async def main():
    share = float(sys.argv[1]) / 100
    loop = asyncio.get_running_loop()
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report))
    load, queue = Load(share if share < 1 else 0.0), asyncio.Queue()
    load.control(loop)
    locks = [asyncio.Lock() for _ in range(LOCKS)]
    clients = [Client(locks[number % LOCKS], load) for number in range(CLIENTS)]
    announce_when_mixed(loop, clients)
    members = [client.run() for client in clients]
    members += [produce(queue, load) for _ in range(PRODUCERS)]
    members += [consume(queue, load) for _ in range(CONSUMERS)]
    members += [hog() for _ in range(HOGS if share >= 1 else 0)]
    with Wait("gather"):
        await asyncio.gather(*members)  # point: gather


asyncio.run(main())
