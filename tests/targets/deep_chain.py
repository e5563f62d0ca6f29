"""Chains of 200 and of 600 coroutines."""
import asyncio

import truth


async def descend(depth):
    if depth > 1:
        await descend(depth - 1)
    else:
        await truth.never()


async def two_hundred():
    await descend(199)


async def six_hundred():
    await descend(599)


async def main():
    await asyncio.gather(two_hundred(), six_hundred())


truth.run(main, edges=[("main", "two_hundred"), ("main", "six_hundred")])
