"""Loops that came and went before, in this thread and in others, some with tasks that ended and some closed with theirs."""
import asyncio
import threading

import truth

LOOPS = 20


async def worker():
    await asyncio.sleep(3600)


async def earlier():
    asyncio.create_task(worker())
    await asyncio.gather(*[asyncio.sleep(0) for _ in range(10)])


async def main():
    await asyncio.gather(worker(), worker())


for number in range(LOOPS):
    asyncio.run(earlier())
    thread = threading.Thread(target=lambda: asyncio.run(earlier()))
    thread.start()
    thread.join()
truth.run(main, edges=[("main", "worker")])
