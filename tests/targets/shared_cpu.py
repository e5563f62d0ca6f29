"""Tasks that compute and sleep in turn, on a CPU that others may share: it keeps its own account of how long its tasks were at work, on the clock of the wall.

The arguments are the share of the time that it is to compute, in percent, and how many processes compute beside it all the time: they run where it may run.
On the line `report` it prints its account so far, and what it was before.
"""

import asyncio
import collections
import os
import random
import sys
import time

import pacing
import truth

TASKS = 20
SLEEP_SECONDS = 0.2
# Turns of a task before the account begins.
SETTLED = 5

share, hogs = float(sys.argv[1]) / 100, int(sys.argv[2])


def hog():
    """A child that computes until its parent has ended."""
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            pass
        os._exit(0)


class Program:
    def __init__(self):
        self.load = pacing.Load(share)
        self.turns = 0
        self.history = collections.deque(maxlen=pacing.HISTORY)

    async def work(self):
        while True:
            self.load.step()
            self.turns += 1
            await asyncio.sleep(SLEEP_SECONDS * random.uniform(0.5, 1.5))

    def note(self):
        self.history.append((time.time(), pacing.Work.seconds))


def report(program):
    program.note()
    work = {"seconds": pacing.Work.seconds, "cpu_seconds": pacing.Work.cpu_seconds}
    truth.announce({"tasks": TASKS, "work": work, "cpu_seconds": time.process_time(), "history": list(program.history)})


def note(loop, program):
    program.note()
    loop.call_later(pacing.HISTORY_SECONDS, note, loop, program)


def control(loop, load):
    load.control()
    loop.call_later(pacing.CONTROL_SECONDS, control, loop, load)


def announce_when_settled(loop, program):
    if program.turns > SETTLED * TASKS:
        report(program)
    else:
        loop.call_later(0.05, announce_when_settled, loop, program)


async def main():
    loop, program = asyncio.get_running_loop(), Program()
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report, program))
    note(loop, program)
    control(loop, program.load)
    announce_when_settled(loop, program)
    await asyncio.gather(*(program.work() for _ in range(TASKS)))


for _ in range(hogs):
    hog()
asyncio.run(main())
