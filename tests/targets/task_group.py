"""A TaskGroup that waits at its end, with another one inside."""
# needs: 3.11
import asyncio

import truth


async def track(seconds):
    await asyncio.sleep(seconds)


async def album(name, lengths):
    async with asyncio.TaskGroup() as group:
        for number, seconds in enumerate(lengths):
            group.create_task(track(seconds), name=f"{name} {number}")


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(album("first", [3600, 3601]), name="first")
        group.create_task(album("second", [3602]), name="second")


EDGES = [("main", "album"), ("first", "first 0"), ("first", "first 1"), ("second", "second 0")]
truth.run(main, edges=EDGES)
