"""A shielded coroutine and a shielded future."""
import asyncio

import truth


async def shielded():
    await asyncio.sleep(3600)


async def of_coroutine():
    await asyncio.shield(shielded())


async def of_future():
    await asyncio.shield(truth.never())


async def main():
    await asyncio.gather(of_coroutine(), of_future())


EDGES = [("main", "of_coroutine"), ("main", "of_future"), ("of_coroutine", "shielded")]
truth.run(main, edges=EDGES)
