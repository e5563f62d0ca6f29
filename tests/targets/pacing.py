"""What servers with known shares have in common: their tasks, an account of task-seconds, and a load that fills a share of the time."""

import collections
import functools
import random
import sys
import time

CLIENTS, LOCKS, PRODUCERS, CONSUMERS, HOGS = 120, 4, 4, 40, 10
HOG_SECONDS = 0.0005

# How often the share of busy time is corrected.
CONTROL_SECONDS = 0.25
# Moments of an account that are kept, and how far apart they are.
HISTORY = 1000
HISTORY_SECONDS = 0.05


class Wait:
    """Books the time of one wait, by the clock of the waiting task itself."""

    seconds = {}
    open = set()
    __slots__ = ("point", "since")

    def __init__(self, point):
        self.point = point

    def __enter__(self):
        Wait.open.add(self)
        self.since = time.perf_counter()

    def __exit__(self, *exception):
        Wait.seconds[self.point] = Wait.seconds.get(self.point, 0.0) + time.perf_counter() - self.since
        Wait.open.discard(self)


class Load:
    """Computes at each step, for as long as makes the wanted share of the time."""

    def __init__(self, share):
        self.share = share
        self.step_seconds = 0.0
        self.at_work, self.wall = at_work_so_far(), time.perf_counter()
        self.steps = 0

    def step(self):
        self.steps += 1
        compute(self.step_seconds)

    def control(self):
        """Corrects the share: to be called every `CONTROL_SECONDS`."""
        at_work, wall = at_work_so_far(), time.perf_counter()
        if self.steps:
            missing = self.share * (wall - self.wall) - (at_work - self.at_work)
            self.step_seconds = max(0.0, self.step_seconds + 0.5 * missing / self.steps)
        self.at_work, self.wall, self.steps = at_work, wall, 0


class Work:
    """What tasks have computed so far: how long it took, and how much of that on a CPU."""

    seconds = 0.0
    cpu_seconds = 0.0


def at_work_so_far():
    """CPU time, and for how long something was computed without a CPU: where a machine has other work, steps that are to use more of a CPU than there is would
    become ever longer."""
    return time.process_time() + Work.seconds - Work.cpu_seconds


def compute(seconds):
    begun, cpu = time.perf_counter(), time.thread_time()
    while time.perf_counter() < begun + seconds:
        pass
    Work.cpu_seconds += time.thread_time() - cpu
    # Last, as a thread loses its CPU above all at the end of a system call, which the clock above is.
    Work.seconds += time.perf_counter() - begun


class Server:
    """Tasks of either library: clients think, then fight over locks; producers fill a queue, which consumers empty. The first argument of the program is the share
    of a core that they are to use, in percent; at 100 there are hogs too, so that the loop never rests.

    `sleep` is the library's, `locks` are of a class of its own, `put` and `get` are those of a queue.
    """

    def __init__(self, sleep, lock_class, put, get):
        self.sleep, self.put, self.get = sleep, put, get
        self.is_saturated = float(sys.argv[1]) >= 100
        self.load = Load(0.0 if self.is_saturated else float(sys.argv[1]) / 100)
        self.locks = [lock_class() for _ in range(LOCKS)]
        # Rounds of each client.
        self.rounds = [0] * CLIENTS

    def jobs(self):
        """What to run in a task each: coroutine functions without parameters."""
        for number in range(CLIENTS):
            yield functools.partial(self.client, number)
        yield from [self.produce] * PRODUCERS
        yield from [self.consume] * CONSUMERS
        yield from [self.hog] * (HOGS if self.is_saturated else 0)

    def is_mixed(self):
        """Whether every client has been through a round."""
        return all(self.rounds)

    async def client(self, number):
        # Clients that start at different times stay spread out.
        await self.think(random.uniform(0, 1.5))
        while True:
            await self.use_lock(self.locks[number % LOCKS])
            self.load.step()
            self.rounds[number] += 1
            await self.think(random.uniform(0.5, 1.5))

    async def think(self, seconds):
        with Wait("think"):
            await self.sleep(seconds)  # point: think

    async def use_lock(self, lock):
        wait = Wait("lock")
        wait.__enter__()
        async with lock:  # point: lock
            wait.__exit__()
            with Wait("hold"):
                await self.sleep(0.05)  # point: hold

    async def produce(self):
        while True:
            self.put(None)
            self.load.step()
            with Wait("pace"):
                await self.sleep(random.uniform(0.02, 0.06))  # point: pace

    async def consume(self):
        while True:
            with Wait("get"):
                await self.get()  # point: get
            self.load.step()
            await self.serve()

    async def serve(self):
        with Wait("serve"):
            await self.sleep(0.2)  # point: serve

    async def hog(self):
        while True:
            compute(HOG_SECONDS)
            with Wait("yield"):
                await self.sleep(0)  # point: yield

    def points(self):
        """Its await points: function, and what is awaited there. The line is that of the comment `point: NAME`."""
        sleep, get, lock = (it.__qualname__ for it in (self.sleep, self.get, type(self.locks[0]).__aenter__))
        return {
            "think": ("Server.think", sleep),
            "lock": ("Server.use_lock", lock),
            "hold": ("Server.use_lock", sleep),
            "get": ("Server.consume", get),
            "serve": ("Server.serve", sleep),
            "pace": ("Server.produce", sleep),
            "yield": ("Server.hog", sleep),
        }


def seconds_so_far(points):
    """The task-seconds of each of `points`; waits that go on count up to now."""
    now = time.perf_counter()
    seconds = dict(dict.fromkeys(points, 0.0), **Wait.seconds)
    for wait in Wait.open:
        seconds[wait.point] += now - wait.since
    return [seconds[point] for point in points]


class History:
    """The account at many moments, on the clock of the calendar: what happened in a period is told by it, whenever the period was."""

    def __init__(self, points):
        self.points = points
        self.moments = collections.deque(maxlen=HISTORY)

    def note(self):
        self.moments.append((time.time(), seconds_so_far(self.points)))


def marked_lines(files):
    """File and line of every await point: those of the comment `point: NAME`."""
    found = {}
    for file in files:
        with open(file, encoding="utf-8") as source:
            for number, text in enumerate(source, 1):
                _, marker, point = text.partition("  # point: ")
                if marker:
                    found[point.strip()] = file, number
    return found


def account(points, files, shown_name):
    """The account so far. `points` has function and awaited function by name, as they are called from 3.11 on; they are here or in `files`."""
    now = time.perf_counter()
    seconds = dict(zip(points, seconds_so_far(points)))
    places = marked_lines([__file__, *files])
    entries = [
        {
            "function": shown_name(function),
            "file": places[point][0],
            "line": places[point][1],
            "awaits": shown_name(awaits),
            "task_seconds": seconds[point],
        }
        for point, (function, awaits) in points.items()
    ]
    work = {"seconds": Work.seconds, "cpu_seconds": Work.cpu_seconds}
    return {"at": now, "cpu_seconds": time.process_time(), "work": work, "points": entries}
