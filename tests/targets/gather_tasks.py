"""A gather of tasks that were created before, one of them finished already, and of a plain future."""
import asyncio

import truth


async def worker():
    await truth.never()


async def done():
    return 1


async def main():
    finished = truth.create_task(done(), "finished")
    tasks = [truth.create_task(worker(), f"worker {number}") for number in range(3)]
    await finished
    await asyncio.gather(finished, *tasks, truth.never())


truth.run(main, edges=[("main", "worker")])
