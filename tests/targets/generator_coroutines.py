"""Generators as coroutines (types.coroutine), `yield from` chains, and a plain `yield` of a future."""
import asyncio
import types

import truth


@types.coroutine
def delegates():
    yield from truth.never()


@types.coroutine
def delegates_twice():
    yield from delegates()


@types.coroutine
def yields_future():
    future = truth.never()
    future._asyncio_future_blocking = True
    yield future


async def by_delegation():
    await delegates_twice()


async def by_yield():
    await yields_future()


async def main():
    await asyncio.gather(by_delegation(), by_yield())


truth.run(main, edges=[("main", "by_delegation"), ("main", "by_yield")])
