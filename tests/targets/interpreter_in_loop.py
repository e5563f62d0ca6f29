"""A coroutine that runs another interpreter, which has a loop of its own: two loops run in one thread, and the outer one's task is at work all the while."""
# needs: 3.12
import asyncio
import json
import os
import pathlib
import sys
import threading

import truth

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

# In the inner interpreter: the truth about its tasks goes through a pipe, as nothing else is shared.
PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
import asyncio, json, os
import truth

async def leaf():
    await truth.never()

async def inner():
    await leaf()

async def inner_main():
    await asyncio.gather(*(asyncio.create_task(inner(), name="inner %d" % number) for number in range(3)))

def announce(answer):
    os.write({pipe}, json.dumps(answer["tasks"]).encode() + b"\\n")

truth.announce = announce
truth.end_with_stdin = lambda answer=None: None
truth.run(inner_main, edges=[("inner_main", "inner")])
"""

tasks_within = []
frames = {}


def create():
    """An interpreter with a GIL of its own."""
    if hasattr(_interpreters, "new_config"):
        return _interpreters.create("isolated")
    return _interpreters.create(isolated=True)


def runs(program):
    frames[threading.get_ident()] = sys._getframe()
    failure = _interpreters.run_string(create(), program)
    raise SystemExit(f"the inner interpreter ended: {failure}")


def collects(lines):
    tasks_within.extend(json.loads(lines.readline()))


async def outer(program):
    runs(program)


async def worker():
    await truth.never()


async def main():
    reading, writing = os.pipe()
    threading.Thread(target=collects, args=(os.fdopen(reading),), daemon=True).start()
    program = PROGRAM.format(folder=str(pathlib.Path(__file__).parent), pipe=writing)
    workers = [asyncio.create_task(worker(), name=f"worker {number}") for number in range(2)]
    await asyncio.gather(*workers, asyncio.create_task(outer(program)))


def announce(answer):
    answer["tasks"].extend(tasks_within)
    own_announce(answer)


# The interpreter that asks would be told the frames of the inner one, whose thread it is, too.
truth.current_frame = frames.__getitem__
own_announce, truth.announce = truth.announce, announce
truth.report_from_thread(lambda: tasks_within, edges=[("main", "worker"), ("main", "outer")])
truth.run_loop(main)
