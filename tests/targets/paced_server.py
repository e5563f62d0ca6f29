"""A server with known shares: it keeps its own account of the task-seconds at each of its await points.

Clients think, then fight over locks; producers fill a queue, which consumers empty. The first argument is the share of a core
that it is to be busy, in percent; at 100 its loop never rests. With `forks` behind it, children come and go all the time: forked ones that
compute, forked ones that run a loop of their own, and other programs. On the line `report` it prints its account so far, in which
waits that are still going on count up to that moment.
"""

import asyncio
import functools
import itertools
import os
import random
import subprocess
import sys

import pacing
import truth
from pacing import Load, Wait, compute

CLIENTS, LOCKS, PRODUCERS, CONSUMERS, HOGS = 120, 4, 4, 40, 10
HOG_SECONDS = 0.0005
FORK_SECONDS, CHILD_SECONDS = 0.2, 0.1

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


async def in_child():
    await asyncio.gather(*(asyncio.sleep(CHILD_SECONDS) for _ in range(100)))


def other_program():
    return subprocess.Popen([sys.executable, "-c", "pass"]).pid


def fork(then):
    """A child that does not come back."""
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(0)
    return pid


def multiply(loop, kinds, children):
    """Makes a child, and again after a while; those that have ended are reaped."""
    children.difference_update([pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]])
    children.add(next(kinds)())
    report.children += 1
    loop.call_later(FORK_SECONDS, multiply, loop, kinds, children)


def report():
    tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    truth.announce(dict(pacing.account(__file__, POINTS, truth.shown_name), tasks=tasks, children=report.children))


report.children = 0


def control(loop, load):
    load.control()
    loop.call_later(pacing.CONTROL_SECONDS, control, loop, load)


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
    control(loop, load)
    locks = [asyncio.Lock() for _ in range(LOCKS)]
    clients = [Client(locks[number % LOCKS], load) for number in range(CLIENTS)]
    announce_when_mixed(loop, clients)
    if sys.argv[2:] == ["forks"]:
        computes = functools.partial(fork, functools.partial(compute, CHILD_SECONDS))
        runs_loop = functools.partial(fork, lambda: asyncio.new_event_loop().run_until_complete(in_child()))
        multiply(loop, itertools.cycle([computes, runs_loop, other_program]), set())
    members = [client.run() for client in clients]
    members += [produce(queue, load) for _ in range(PRODUCERS)]
    members += [consume(queue, load) for _ in range(CONSUMERS)]
    members += [hog() for _ in range(HOGS if share >= 1 else 0)]
    with Wait("gather"):
        await asyncio.gather(*members)  # point: gather


asyncio.run(main())
