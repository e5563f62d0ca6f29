"""Asynchronous generators: plain, delegating, by asend(), athrow() and aclose(), and comprehensions."""
import asyncio

import truth


async def numbers():
    yield 1
    await asyncio.sleep(3600)
    yield 2


async def doubled():
    async for number in numbers():
        yield number * 2


async def iterates():
    async for _ in doubled():
        pass


async def by_asend():
    generator = numbers()
    await generator.asend(None)
    await generator.asend("value")


async def waits_at_the_end():
    try:
        yield 1
    finally:
        await asyncio.sleep(3600)


async def by_athrow():
    generator = waits_at_the_end()
    await generator.asend(None)
    await generator.athrow(ValueError)


async def by_aclose():
    generator = waits_at_the_end()
    await generator.asend(None)
    await generator.aclose()


async def by_comprehension():
    return [number async for number in numbers()]


async def main():
    await asyncio.gather(iterates(), by_asend(), by_athrow(), by_aclose(), by_comprehension())


MEMBERS = ["iterates", "by_asend", "by_athrow", "by_aclose", "by_comprehension"]
truth.run(main, edges=[("main", member) for member in MEMBERS])
