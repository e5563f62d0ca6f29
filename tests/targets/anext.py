"""anext() of an asynchronous generator, without and with a default."""
# needs: 3.10
import asyncio

import truth


async def numbers():
    yield 1
    await asyncio.sleep(3600)
    yield 2


async def plain():
    generator = numbers()
    await anext(generator)
    await anext(generator)


async def by_default():
    generator = numbers()
    await anext(generator, None)
    await anext(generator, None)


async def main():
    await asyncio.gather(plain(), by_default())


truth.run(main, edges=[("main", "plain"), ("main", "by_default")])
