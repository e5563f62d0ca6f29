"""A thousand workers in the same place."""
import asyncio

import truth


async def fetches():
    await asyncio.sleep(3600)


async def worker():
    await fetches()


async def main():
    await asyncio.gather(*[worker() for _ in range(1000)])


truth.run(main, edges=[("main", "worker")])
