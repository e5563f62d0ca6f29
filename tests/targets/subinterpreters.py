"""Sub-interpreters with an event loop each, in threads of their own, with and without a GIL of their own, beside the main one."""
# needs: 3.12
import asyncio
import os
import threading

import interpreters
import truth

# In each sub-interpreter.
PROGRAM = """
async def leaf():
    await truth.never()

async def inner(number):
    await leaf()

async def group(number):
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(inner(number), name="one of {number}")
        tasks.create_task(asyncio.sleep(3600), name="sleeper of {number}")

async def stream():
    yield 1
    await leaf()

async def reads():
    async for _ in stream():
        pass

async def main():
    grouped = asyncio.create_task(group({number}), name="group {number}")
    reader = asyncio.create_task(reads(), name="reader {number}")
    await asyncio.gather(grouped, reader)

edges = [("main", "group {number}"), ("main", "reader {number}")]
edges += [("group {number}", "one of {number}"), ("group {number}", "sleeper of {number}")]
truth.run(main, edges=edges)
"""

INTERPRETERS = 3


def runs(number, pipe):
    # The last one shares the main one's GIL.
    interpreters.run(PROGRAM.format(number=number), pipe, is_isolated=number + 1 < INTERPRETERS)


def collects(lines):
    for _ in range(INTERPRETERS):
        collected.append(interpreters.tasks(lines))


def announce(answer):
    answer["tasks"].extend(task for tasks in collected for task in tasks)
    own_announce(answer)


async def worker():
    await truth.never()


async def main():
    reading, writing = os.pipe()
    lines = os.fdopen(reading)
    threading.Thread(target=collects, args=(lines,), daemon=True).start()
    for number in range(INTERPRETERS):
        threading.Thread(target=runs, args=(number, writing), daemon=True).start()
    await asyncio.gather(*(asyncio.create_task(worker(), name=f"own {number}") for number in range(2)))


collected = []
own_announce, truth.announce = truth.announce, announce
truth.run(main, edges=[("main", "own 0"), ("main", "own 1")], ready=lambda: len(collected) == INTERPRETERS)
