"""A gather of coroutines."""
import asyncio

import truth


async def worker(delay):
    await asyncio.sleep(delay)


async def main():
    await asyncio.gather(worker(3600), worker(3601), worker(3602))


truth.run(main, edges=[("main", "worker")])
