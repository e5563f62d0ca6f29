"""Tasks that come and go, and wait some times each, for times of their own: each keeps an account of every single wait. On a line it prints these.

Who ends is followed by another one at once. With the argument `reuse` that may get the same addresses; without it what has ended is kept. Moments are those of the machine's clock, as recordings have them.
"""

import asyncio
import random
import sys
import time

import truth

TASKS = 100
# From how long to how long each function waits, in seconds: longer than looks are apart, also where others use the machine.
LENGTHS = {"query": (0.3, 1.2), "render": (0.4, 0.45), "deliver": (0.25, 0.8)}
loop = asyncio.new_event_loop()
REUSE = sys.argv[1:] == ["reuse"]
ended = []


def since_epoch():
    """Like `time.time`, and nobody sets it meanwhile."""
    return OFFSET + time.monotonic()


OFFSET = time.time() - time.monotonic()


async def query(waits):
    since = since_epoch()
    await asyncio.sleep(random.uniform(*LENGTHS["query"]))
    waits.append(["query", since, since_epoch()])


async def render(waits):
    since = since_epoch()
    await asyncio.sleep(random.uniform(*LENGTHS["render"]))
    waits.append(["render", since, since_epoch()])


async def deliver(waits):
    future = loop.create_future()
    loop.call_later(random.uniform(*LENGTHS["deliver"]), future.set_result, None)
    since = since_epoch()
    await future
    waits.append(["deliver", since, since_epoch()])


async def request():
    began, waits = since_epoch(), []
    for step in random.choices([query, render, deliver], k=random.randint(1, 4)):
        await step(waits)
    task = asyncio.current_task()
    ended.append({"task": hex(id(task)), "began": began, "ended": since_epoch(), "waits": waits})
    begin()


def begin():
    running.append(loop.create_task(request()))
    if REUSE:
        del running[:-TASKS]


def report():
    truth.announce({"now": since_epoch(), "ended": ended})


running = []
truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report))
for _ in range(TASKS):
    begin()
loop.call_later(0.5, report)
loop.run_forever()
