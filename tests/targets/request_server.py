"""A server that makes a task of every request: it keeps its own account of the task-seconds at each of its await points, see `pacing`.

The arguments are the share of a core that it is to use, in percent, and how long a request takes, in milliseconds. Requests come in at the
rate at which some hundred are under way. On the line `report` it prints its account so far, in which waits that are still going on count up to that moment, and what it was before.
"""

import asyncio
import random
import sys

import pacing
import truth
from pacing import Wait

REQUESTS, IDLE = 100, 20
# Requests come in no faster than this.
SHORTEST_PAUSE = 0.001

busy, life = float(sys.argv[1]) / 100, float(sys.argv[2]) / 1000


class Requests:
    def __init__(self):
        self.load = pacing.Load(busy)
        self.pause = max(life / REQUESTS, SHORTEST_PAUSE)
        self.tasks = set()
        self.history = pacing.History(self.points())
        self.served = 0

    async def accept(self):
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += self.pause * random.uniform(0.5, 1.5)
            with Wait("accept"):
                await asyncio.sleep(max(due - loop.time(), 0))  # point: accept
            start = Wait("start")
            start.__enter__()
            task = loop.create_task(self.serve(start))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def serve(self, start):  # point: start
        start.__exit__()
        self.load.step()
        with Wait("query"):
            await asyncio.sleep(life * random.uniform(0.2, 0.4))  # point: query
        self.load.step()
        await self.render()
        self.served += 1

    async def render(self):
        with Wait("render"):
            await asyncio.sleep(life * random.uniform(0.4, 1.0))  # point: render
        self.load.step()

    async def idle(self):
        with Wait("idle"):
            await asyncio.Event().wait()  # point: idle

    def points(self):
        sleep, wait = asyncio.sleep.__qualname__, asyncio.Event.wait.__qualname__
        return {
            "accept": ("Requests.accept", sleep),
            "start": ("Requests.serve", "its first turn"),
            "query": ("Requests.serve", sleep),
            "render": ("Requests.render", sleep),
            "idle": ("Requests.idle", wait),
            "gather": ("main", "_GatheringFuture"),
        }


def report(requests):
    account = pacing.account(requests.points(), [__file__], truth.shown_name)
    requests.history.note()
    tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    truth.announce(dict(account, tasks=tasks, history=list(requests.history.moments)))


def control(loop, load):
    load.control()
    loop.call_later(pacing.CONTROL_SECONDS, control, loop, load)


def note(loop, history):
    history.note()
    loop.call_later(pacing.HISTORY_SECONDS, note, loop, history)


def announce_when_steady(loop, requests):
    if requests.served * requests.pause > 3 * life and requests.served > REQUESTS:
        report(requests)
    else:
        loop.call_later(0.05, announce_when_steady, loop, requests)


async def main():
    loop, requests = asyncio.get_running_loop(), Requests()
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report, requests))
    control(loop, requests.load)
    note(loop, requests.history)
    announce_when_steady(loop, requests)
    with Wait("gather"):
        await asyncio.gather(requests.accept(), *(requests.idle() for _ in range(IDLE)))  # point: gather


asyncio.run(main())
