"""A server on trio with known shares, as `paced_server`: clients that think and fight over locks, producers, consumers, hogs."""

import importlib.util
import os
import random
import sys
import tempfile

import pacing
from pacing import Load, Wait, compute

# Whose code a function is, is told by its path: trio has to lie where packages are installed.
with tempfile.TemporaryDirectory() as folder:
    packages = os.path.join(folder, "site-packages")
    os.symlink(os.path.dirname(os.path.dirname(importlib.util.find_spec("trio").origin)), packages)
    sys.path.insert(0, packages)
    import trio
    import trio_truth

    sys.path.remove(packages)

CLIENTS, LOCKS, PRODUCERS, CONSUMERS, HOGS = 120, 4, 4, 40, 10
HOG_SECONDS = 0.0005

# Await point: function, and what it awaits there. The line is that of the comment `point: NAME`.
POINTS = {
    "think": ("think", "sleep"),
    "lock": ("Client.use_lock", trio.Lock.__aenter__.__qualname__),
    "hold": ("Client.use_lock", "sleep"),
    "get": ("consume", "MemoryReceiveChannel.receive"),
    "serve": ("serve", "sleep"),
    "pace": ("produce", "sleep"),
    "yield": ("hog", "sleep"),
    "nursery": ("main", "NurseryManager.__aexit__"),
    "control": ("control", "sleep"),
}


async def think(seconds):
    with Wait("think"):
        await trio.sleep(seconds)  # point: think


class Client:
    def __init__(self, lock, load):
        self.lock, self.load, self.rounds = lock, load, 0

    async def use_lock(self):
        wait = Wait("lock")
        wait.__enter__()
        async with self.lock:  # point: lock
            wait.__exit__()
            with Wait("hold"):
                await trio.sleep(0.05)  # point: hold

    async def run(self):
        # Clients that start at different times stay spread out.
        await think(random.uniform(0, 1.5))
        while True:
            await self.use_lock()
            self.load.step()
            self.rounds += 1
            await think(random.uniform(0.5, 1.5))


async def produce(channel, load):
    while True:
        channel.send_nowait(None)
        load.step()
        with Wait("pace"):
            await trio.sleep(random.uniform(0.02, 0.06))  # point: pace


async def serve():
    with Wait("serve"):
        await trio.sleep(0.2)  # point: serve


async def consume(channel, load):
    while True:
        with Wait("get"):
            await channel.receive()  # point: get
        load.step()
        await serve()


async def hog():
    while True:
        compute(HOG_SECONDS)
        with Wait("yield"):
            await trio.sleep(0)  # point: yield


async def control(load, clients):
    announced = False
    while True:
        load.control()
        if not announced and all(client.rounds for client in clients):
            announced = True
            report(trio.lowlevel.current_task()._runner)
        with Wait("control"):
            await trio.sleep(pacing.CONTROL_SECONDS)  # point: control


def report(runner):
    account = pacing.account(__file__, POINTS, trio_truth.shown_name)
    trio_truth.announce(dict(account, tasks=len(runner.tasks)))


async def main():
    share = float(sys.argv[1]) / 100
    token, runner = trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()._runner
    trio_truth.end_with_stdin(lambda line: token.run_sync_soon(report, runner))
    load = Load(share if share < 1 else 0.0)
    sender, receiver = trio.open_memory_channel(float("inf"))
    locks = [trio.Lock() for _ in range(LOCKS)]
    clients = [Client(locks[number % LOCKS], load) for number in range(CLIENTS)]
    wait = Wait("nursery")
    async with trio.open_nursery() as nursery:  # point: nursery
        for client in clients:
            nursery.start_soon(client.run)
        for _ in range(PRODUCERS):
            nursery.start_soon(produce, sender, load)
        for _ in range(CONSUMERS):
            nursery.start_soon(consume, receiver, load)
        for _ in range(HOGS if share >= 1 else 0):
            nursery.start_soon(hog)
        nursery.start_soon(control, load, clients)
        wait.__enter__()


trio.run(main)
