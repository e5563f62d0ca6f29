"""Two tasks, two locks, taken in opposite order."""
import asyncio

import truth


async def takes(first, second):
    async with first:
        # The other one takes its first lock meanwhile.
        await asyncio.sleep(0)
        async with second:
            pass


async def main():
    left, right = asyncio.Lock(), asyncio.Lock()
    await asyncio.gather(
        truth.create_task(takes(left, right), "left first"),
        truth.create_task(takes(right, left), "right first"),
    )


truth.run(main, edges=[("main", "takes")])
