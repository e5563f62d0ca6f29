"""A loop that does not turn, in the way that the argument says; 20 tasks sleep beside. It announces when its turn began, by the loop's own clock.

`task` and `callback` block; `spinner` computes in a task that never gives up its turn; `many` works through callbacks of 20 ms, all of one
turn; `turning` works as much in turns of 20 ms; `idle` does nothing; `own_clock` blocks while its clock is not the system's.
"""

import asyncio
import json
import os
import sys
import time

import truth

SLEEPERS = 20
SECONDS = 60.0
BEFORE = 0.3

truth.end_with_stdin()
loop = asyncio.new_event_loop()
manner = sys.argv[1]


def announce():
    line = {"pid": os.getpid(), "began": time.monotonic(), "sleepers": SLEEPERS}
    print(json.dumps(line), flush=True)


async def sleeper():
    await asyncio.sleep(BEFORE + 0.05)


async def sleep_on():
    while True:
        await asyncio.sleep(0.05)


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def block():
    announce()
    time.sleep(SECONDS)


async def hog():
    await asyncio.sleep(BEFORE)
    block()


async def spin():
    await asyncio.sleep(BEFORE)
    announce()
    compute(SECONDS)


def work():
    compute(0.02)


def begin_many():
    for _ in range(int(SECONDS / 0.02)):
        loop.call_soon(work)
    loop.call_soon(lambda: None)
    announce()


async def turn():
    await asyncio.sleep(BEFORE)
    announce()
    while True:
        compute(0.02)
        await asyncio.sleep(0)


async def main():
    sleeps = sleep_on if manner in ("idle", "turning") else sleeper
    tasks = [loop.create_task(sleeps()) for _ in range(SLEEPERS)]
    if manner == "callback":
        loop.call_later(BEFORE, block)
    elif manner == "many":
        loop.call_later(BEFORE, begin_many)
    elif manner == "idle":
        loop.call_later(BEFORE, announce)
    else:
        runs = {"spinner": spin, "turning": turn}.get(manner, hog)
        tasks.append(loop.create_task(runs()))
    await asyncio.gather(*tasks)


if manner == "own_clock":
    since = time.monotonic()
    loop.time = lambda: 10.0 * (time.monotonic() - since)
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
