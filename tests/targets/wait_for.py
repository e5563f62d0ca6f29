"""wait_for of a coroutine (its own task before 3.12, the same task since), of a task, and of a future."""
import asyncio
import sys

import truth


async def inner():
    await asyncio.sleep(3600)


async def task():
    await asyncio.sleep(3600)


async def of_coroutine():
    await asyncio.wait_for(inner(), 3000)


async def of_task():
    await asyncio.wait_for(asyncio.create_task(task()), 3000)


async def of_future():
    await asyncio.wait_for(truth.never(), 3000)


async def main():
    await asyncio.gather(of_coroutine(), of_task(), of_future())


EDGES = [("main", "of_coroutine"), ("main", "of_task"), ("main", "of_future"), ("of_task", "task")]
if sys.version_info < (3, 12):
    EDGES.append(("of_coroutine", "inner"))

truth.run(main, edges=EDGES)
