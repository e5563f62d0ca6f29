"""A thousand workers in the same place."""
import asyncio

import truth


async def fetches():
    await asyncio.sleep(3600)


async def worker():
    await fetches()


async def main():
    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(worker())


truth.run(main, edges=[("main", "worker")])
