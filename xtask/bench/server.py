"""A working server: tasks that serve requests, paced to a share of a core or as fast as they can.

usage: server.py TASKS LOAD

LOAD is the share of a core that the loop is to use, in percent; 100 is a saturated loop.

Writes one line of JSON to standard output when it has settled; `paths` are the call paths of its coroutines that end
where they suspend, `running_paths` those that do not; outermost first. When standard input is closed it writes a second one, its own
account, and ends:
  done  pairs (time, requests finished so far), every 50 ms or so
  busy  pairs (time, CPU time of the process so far), at the same moments
  lags  pairs (time, how much later than asked for a timer fired), for a timer every 5 ms
All times are seconds; those of events are of the monotonic clock.
"""

import asyncio
import json
import os
import random
import sys
import time

PATHS = [
    ["serve", "handle", "authorize", "acquire"],
    ["serve", "handle", "query", "execute", "sleep"],
    ["serve", "sleep"],
    ["main"],
    ["account", "sleep"],
    ["measure_lag", "sleep"],
]
RUNNING_PATHS = [["serve", "handle", "render"]]

LAG_INTERVAL = 0.005
ACCOUNT_INTERVAL = 0.05
QUERY_SECONDS = 0.002


class Server:
    def __init__(self, tasks, load):
        self.tasks = tasks
        self.load = load
        self.pause = 0.0
        self.finished = 0
        self.locks = [asyncio.Lock() for _ in range(max(1, tasks // 4))]
        self.random = random.Random(1)
        self.done = []
        self.busy = []
        self.lags = []

    async def serve(self, number):
        # Requests come at moments that have nothing to do with each other.
        while True:
            if self.pause:
                await asyncio.sleep(self.random.uniform(0, 2 * self.pause))
            await self.handle(number)
            self.finished += 1

    async def handle(self, number):
        lock = await self.authorize(number)
        try:
            rows = await self.query(number)
        finally:
            lock.release()
        return await self.render(rows)

    async def authorize(self, number):
        lock = self.locks[number % len(self.locks)]
        await lock.acquire()
        return lock

    async def query(self, number):
        return await self.execute(range(number % 7, 120))

    async def execute(self, rows):
        await asyncio.sleep(QUERY_SECONDS)
        return list(rows)

    async def render(self, rows):
        return "".join(f"{row:>8}" for row in rows)

    async def account(self):
        while True:
            now = time.monotonic()
            self.done.append((now, self.finished))
            self.busy.append((now, time.process_time()))
            await asyncio.sleep(ACCOUNT_INTERVAL)

    async def measure_lag(self):
        while True:
            asked_for = time.monotonic() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            now = time.monotonic()
            self.lags.append((now, now - asked_for))

    async def calibrate(self):
        """Finds the pause between two requests of a task that makes the loop as busy as asked for."""
        if self.load >= 100:
            return
        share = self.load / 100
        # Seconds of CPU time per request, at first a rough guess.
        cost = 100e-6
        for _ in range(4):
            self.pause = self.tasks * cost / share
            await asyncio.sleep(0.3)
            began, used, finished = time.monotonic(), time.process_time(), self.finished
            await asyncio.sleep(1.0)
            if self.finished > finished:
                actual = (time.process_time() - used) / (time.monotonic() - began)
                cost *= min(4.0, max(0.25, actual / share))


async def main(tasks, load):
    loop = asyncio.get_running_loop()
    server = Server(tasks, load)
    everyone = [loop.create_task(server.serve(number)) for number in range(tasks)]
    everyone.append(loop.create_task(server.account()))
    if load < 100:
        everyone.append(loop.create_task(server.measure_lag()))
    await server.calibrate()

    closed = loop.create_future()
    loop.add_reader(sys.stdin, closed.set_result, None)
    ready = {"ready": True, "tasks": len(everyone) + 1, "paths": PATHS, "running_paths": RUNNING_PATHS}
    print(json.dumps(ready), flush=True)
    await closed
    print(json.dumps({"done": server.done, "busy": server.busy, "lags": server.lags}), flush=True)
    os._exit(0)


asyncio.new_event_loop().run_until_complete(main(int(sys.argv[1]), float(sys.argv[2])))
