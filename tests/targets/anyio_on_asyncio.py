"""anyio on asyncio: its tasks are asyncio's."""
# needs: anyio
import asyncio

import anyio

import truth


async def child(event):
    await event.wait()


async def main():
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(child, anyio.Event(), name=f"child {number}")


truth.run(main, edges=[("main", f"child {number}") for number in range(3)])
