"""Two tasks that wait for each other, and one that waits for them."""
import asyncio

import truth

tasks = {}


async def first():
    await asyncio.sleep(0)
    await tasks["second"]


async def second():
    await asyncio.sleep(0)
    await tasks["first"]


async def main():
    tasks["first"] = asyncio.create_task(first(), name="first")
    tasks["second"] = asyncio.create_task(second(), name="second")
    await tasks["first"]


truth.run(main, edges=[("main", "first"), ("first", "second"), ("second", "first")])
