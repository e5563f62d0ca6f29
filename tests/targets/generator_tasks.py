"""Tasks whose outermost coroutine is a generator, as all were before `async def`; taken until 3.11."""
# needs: <3.12
import asyncio
import types

import truth


@types.coroutine
def innermost():
    yield from truth.never()


@types.coroutine
def handler():
    # One that does not end can still have yielded to the loop before.
    yield
    yield from innermost()


async def awaits_generator():
    await innermost()


async def main():
    await asyncio.gather(handler(), awaits_generator())


truth.run(main, edges=[("main", "handler"), ("main", "awaits_generator")])
