"""A diamond: two tasks wait for one task, and several for one future."""
import asyncio

import truth


async def shared():
    await truth.never()


async def left(task):
    await task


async def right(task):
    await task


async def at_future(future):
    await future


async def main():
    task, future = asyncio.create_task(shared()), truth.never()
    await asyncio.gather(left(task), right(task), at_future(future), at_future(future))


MEMBERS = [("main", "left"), ("main", "right"), ("main", "at_future")]
truth.run(main, edges=[*MEMBERS, ("left", "shared"), ("right", "shared")])
