"""A coroutine that runs another interpreter, which has a loop of its own: two loops run in one thread, and the outer one's task is at work all the while."""
# needs: 3.12
import asyncio
import os
import threading

import interpreters
import truth

# In the inner interpreter.
PROGRAM = """
async def leaf():
    await truth.never()

async def inner():
    await leaf()

async def inner_main():
    await asyncio.gather(*(asyncio.create_task(inner(), name=f"inner {number}") for number in range(3)))

truth.run(inner_main, edges=[("inner_main", "inner")])
"""

tasks_within = []


def collects(lines):
    tasks_within.extend(interpreters.tasks(lines))


async def outer(pipe):
    interpreters.run(PROGRAM, pipe)


async def worker():
    await truth.never()


async def main():
    reading, writing = os.pipe()
    threading.Thread(target=collects, args=(os.fdopen(reading),), daemon=True).start()
    workers = [asyncio.create_task(worker(), name=f"worker {number}") for number in range(2)]
    await asyncio.gather(*workers, asyncio.create_task(outer(writing)))


def announce(answer):
    answer["tasks"].extend(tasks_within)
    own_announce(answer)


# The interpreter that asks would be told the frames of the inner one, whose thread it is, too.
truth.current_frame = interpreters.frames.__getitem__
own_announce, truth.announce = truth.announce, announce
truth.report_from_thread(lambda: tasks_within, edges=[("main", "worker"), ("main", "outer")])
truth.run_loop(main)
