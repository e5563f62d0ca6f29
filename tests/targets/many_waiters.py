"""Many tasks wait for one: more waiters than the first table of a small set holds."""
import asyncio

import truth


async def shared():
    await truth.never()


async def waiter(task):
    await task


async def main():
    task = asyncio.create_task(shared())
    await asyncio.gather(*[waiter(task) for _ in range(50)])


truth.run(main, edges=[("main", "waiter"), ("waiter", "shared")])
