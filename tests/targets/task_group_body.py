"""A TaskGroup whose body is not over: the parent waits for its own sleep, not for its children."""
# needs: 3.11
import asyncio

import truth


async def child():
    await asyncio.sleep(3600)


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(child(), name="first child")
        group.create_task(child(), name="second child")
        await asyncio.sleep(3600)


truth.run(main)
