"""as_completed over coroutines."""
import asyncio

import truth


async def worker():
    await asyncio.sleep(3600)


async def main():
    for earliest in asyncio.as_completed([worker(), worker()]):
        await earliest


truth.run(main, optional_edges=[("main", "worker")])
