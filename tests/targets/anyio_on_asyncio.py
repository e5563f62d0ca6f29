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


# Before 3.8 tasks have no names: children are known by the function that anyio runs them in.
EDGES = [("main", f"child {number}") for number in range(3)] + [("main", truth.shown_name("TaskGroup._run_wrapped_task"))]
truth.run(main, edges=EDGES)
