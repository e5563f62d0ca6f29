"""Objects with their own `__await__`: a generator, another's iterator, a coroutine's wrapper, and an iterator class."""
import asyncio

import truth


async def sleeper():
    await asyncio.sleep(3600)


class ByGenerator:
    def __await__(self):
        yield from sleeper().__await__()


class ByWrapper:
    def __await__(self):
        return sleeper().__await__()


class ByFuture:
    def __await__(self):
        return truth.never().__await__()


class Iterator:
    """Hands on what the future's own iterator yields."""

    def __init__(self):
        self.inner = iter(truth.never())

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.inner)


class ByIterator:
    def __await__(self):
        return Iterator()


async def by_generator():
    await ByGenerator()


async def by_wrapper():
    await ByWrapper()


async def by_future():
    await ByFuture()


async def by_iterator():
    await ByIterator()


async def main():
    await asyncio.gather(by_generator(), by_wrapper(), by_future(), by_iterator())


truth.run(main, edges=[("main", it) for it in ("by_generator", "by_wrapper", "by_future", "by_iterator")])
