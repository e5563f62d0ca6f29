"""Asynchronous context managers: waiting on entry, on exit, and by the decorator over a generator."""
import asyncio
import contextlib

import truth


class SlowEntry:
    async def __aenter__(self):
        await asyncio.sleep(3600)

    async def __aexit__(self, *exception):
        pass


class SlowExit:
    async def __aenter__(self):
        pass

    async def __aexit__(self, *exception):
        await asyncio.sleep(3600)


@contextlib.asynccontextmanager
async def decorated():
    await asyncio.sleep(3600)
    yield


async def enters():
    async with SlowEntry():
        pass


async def leaves():
    async with SlowExit():
        pass


async def by_decorator():
    async with decorated():
        pass


async def by_stack():
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(SlowExit())


async def main():
    await asyncio.gather(enters(), leaves(), by_decorator(), by_stack())


truth.run(main, edges=[("main", it) for it in ("enters", "leaves", "by_decorator", "by_stack")])
