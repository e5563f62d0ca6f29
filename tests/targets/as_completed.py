"""as_completed over coroutines."""
import asyncio
import sys

import truth


async def worker():
    await asyncio.sleep(3600)


async def main():
    for earliest in asyncio.as_completed([worker(), worker()]):
        await earliest


EDGES = [("main", "worker")]
# Before 3.13 the workers are known to a closure only, which puts them into a queue.
if sys.version_info >= (3, 13):
    truth.run(main, edges=EDGES)
else:
    truth.run(main, optional_edges=EDGES)
