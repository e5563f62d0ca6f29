"""Eager tasks: one that blocks at once, one that gets to the loop first."""
# needs: 3.12
import asyncio

import truth


async def blocks():
    await truth.never()


async def finishes():
    return 1


async def yields_first():
    await asyncio.sleep(0)
    await asyncio.sleep(3600)


async def main():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with asyncio.TaskGroup() as group:
        group.create_task(blocks(), name="eager 1")
        group.create_task(finishes())
        group.create_task(yields_first(), name="eager 2")


truth.run(main, edges=[("main", "blocks"), ("main", "yields_first")])
