"""Sub-interpreters with an event loop each, in threads of their own, with and without a GIL of their own, beside the main one."""
# needs: 3.12
import asyncio
import json
import os
import pathlib
import threading

import truth

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

# In each sub-interpreter: the truth about its own tasks goes through a pipe, as nothing else is shared.
PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import asyncio, json, os
import truth

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

def announce(answer):
    os.write({pipe}, json.dumps(answer["tasks"]).encode() + b"\\n")

truth.announce = announce
truth.end_with_stdin = lambda answer=None: None
edges = [("main", "group {number}"), ("main", "reader {number}")]
edges += [("group {number}", "one of {number}"), ("group {number}", "sleeper of {number}")]
truth.run(main, edges=edges)
"""

INTERPRETERS = 3


def create(number):
    """A sub-interpreter; the last one shares the main one's GIL."""
    is_isolated = number + 1 < INTERPRETERS
    if hasattr(_interpreters, "new_config"):
        return _interpreters.create("isolated" if is_isolated else "legacy")
    return _interpreters.create(isolated=is_isolated)


def runs(number, pipe):
    folder = str(pathlib.Path(__file__).parent)
    program = PROGRAM.format(folder=folder, number=number, pipe=pipe)
    failure = _interpreters.run_string(create(number), program)
    raise SystemExit(f"interpreter {number} ended: {failure}")


def collects(lines):
    for _ in range(INTERPRETERS):
        collected.append(json.loads(lines.readline()))


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
