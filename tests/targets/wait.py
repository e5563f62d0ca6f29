"""asyncio.wait over tasks, with and without a timeout."""
import asyncio

import truth


async def worker():
    await asyncio.sleep(3600)


async def other():
    await truth.never()


async def waits_for_first():
    tasks = [asyncio.create_task(worker()) for _ in range(2)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def main():
    tasks = [asyncio.create_task(waits_for_first()), asyncio.create_task(other())]
    await asyncio.wait(tasks, timeout=3600)


truth.run(main, edges=[("main", "waits_for_first"), ("main", "other"), ("waits_for_first", "worker")])
