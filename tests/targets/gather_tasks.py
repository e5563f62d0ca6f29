"""A gather of tasks that were created before, one of them finished already, and of a plain future."""
import asyncio

import truth


async def worker():
    await truth.never()


async def done():
    return 1


async def main():
    finished = asyncio.create_task(done(), name="finished")
    tasks = [asyncio.create_task(worker(), name=f"worker {number}") for number in range(3)]
    await finished
    await asyncio.gather(finished, *tasks, truth.never())


truth.run(main, edges=[("main", "worker")])
