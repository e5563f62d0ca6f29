"""A future of the pure-Python implementation: its `__await__` is a generator."""
import asyncio

import truth

kept = []


async def waits():
    future = asyncio.futures._PyFuture(loop=asyncio.get_running_loop())
    kept.append(future)
    await future


async def main():
    await waits()


truth.run(main)
