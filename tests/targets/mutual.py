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
    tasks["first"] = truth.create_task(first(), "first")
    tasks["second"] = truth.create_task(second(), "second")
    await tasks["first"]


truth.run(main, edges=[("main", "first"), ("first", "second"), ("second", "first")])
