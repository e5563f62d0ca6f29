"""Two tasks, two locks, taken in opposite order."""
import asyncio

import truth


async def takes(first, second, barrier):
    async with first:
        await barrier.wait()
        async with second:
            pass


async def main():
    left, right, barrier = asyncio.Lock(), asyncio.Lock(), asyncio.Barrier(2)
    async with asyncio.TaskGroup() as group:
        group.create_task(takes(left, right, barrier), name="left first")
        group.create_task(takes(right, left, barrier), name="right first")


truth.run(main, edges=[("main", "takes")])
