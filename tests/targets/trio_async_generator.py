"""trio tasks within asynchronous generators, context managers and awaitables of their own."""
# needs: trio
import contextlib

import trio
import trio_truth


async def ticks():
    yield 1
    await trio.sleep_forever()
    yield 2


async def iterates():
    async for _ in ticks():
        pass


@contextlib.asynccontextmanager
async def session():
    await trio.Event().wait()
    yield


async def enters():
    async with session():
        pass


class Ticket:
    def __await__(self):
        return trio.sleep_forever().__await__()


async def awaits_object():
    await Ticket()


async def main():
    async with trio.open_nursery() as nursery:
        for function in (iterates, enters, awaits_object):
            nursery.start_soon(function)


trio_truth.run(main)
