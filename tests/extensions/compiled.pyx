# cython: language_level=3
"""Coroutines without a Python frame. `cython_coroutines.py` runs them, `tests/tests/extensions.rs` compiles them."""


async def inner(awaitable):
    return await awaitable


async def outer(awaitable):
    return await inner(awaitable)


class Service:
    async def handle(self, awaitable):
        return await awaitable
