"""Coroutines that await coroutines, ending in a sleep."""
import asyncio

import truth


async def innermost():
    await asyncio.sleep(3600)


async def middle():
    return await innermost()


async def outer():
    values = [
        await middle(),
    ]
    return values


async def main():
    await outer()


truth.run(main)
