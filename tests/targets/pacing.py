"""What servers with known shares have in common: an account of task-seconds, and a load that fills a share of the time."""

import time

# How often the share of busy time is corrected.
CONTROL_SECONDS = 0.25


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
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        self.steps = 0

    def step(self):
        self.steps += 1
        compute(self.step_seconds)

    def control(self):
        """Corrects the share: to be called every `CONTROL_SECONDS`."""
        cpu, wall = time.process_time(), time.perf_counter()
        if self.steps:
            missing = self.share * (wall - self.wall) - (cpu - self.cpu)
            self.step_seconds = max(0.0, self.step_seconds + 0.5 * missing / self.steps)
        self.cpu, self.wall, self.steps = cpu, wall, 0


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def lines(file, points):
    """The line of every await point: that of the comment `point: NAME`."""
    with open(file, encoding="utf-8") as source:
        texts = list(source)
    found = {}
    for number, text in enumerate(texts, 1):
        _, marker, point = text.partition("# point: ")
        if marker and point.strip() in points:
            found[point.strip()] = number
    return found


def account(file, points, shown_name):
    """The account so far. `points` has function and awaited function by name, as they are called from 3.11 on."""
    now = time.perf_counter()
    seconds = dict(dict.fromkeys(points, 0.0), **Wait.seconds)
    for wait in Wait.open:
        seconds[wait.point] += now - wait.since
    at = lines(file, points)
    entries = [
        {
            "function": shown_name(function),
            "file": file,
            "line": at[point],
            "awaits": shown_name(awaits),
            "task_seconds": seconds[point],
        }
        for point, (function, awaits) in points.items()
    ]
    return {"at": now, "cpu_seconds": time.process_time(), "points": entries}
