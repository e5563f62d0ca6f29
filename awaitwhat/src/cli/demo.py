"""A small service to look at: nested coroutines, a gather, a lock that is fought over, a queue, and sleeps."""

import asyncio
import os
import sys
import threading


class Store:
    """A resource that one task at a time may use."""

    def __init__(self):
        self.lock = asyncio.Lock()

    async def save(self, order):
        async with self.lock:
            await self.commit(order)

    async def commit(self, order):
        await asyncio.sleep(0.05)


async def clerk(store, number):
    order = number
    while True:
        await asyncio.sleep(0.1)
        await store.save(order)
        order += 10


async def producer(queue):
    while True:
        await asyncio.sleep(0.4)
        for job in range(3):
            await queue.put(job)


async def consumer(queue):
    while True:
        job = await queue.get()
        await handle(job)
        queue.task_done()


async def handle(job):
    await render(job)


async def render(job):
    await asyncio.sleep(0.2)
    crunch(job)


def crunch(job):
    return sum(number * number for number in range(50_000 + job))


def start(coroutine, name, create_task=asyncio.create_task):
    # Tasks have had names since 3.8.
    return create_task(coroutine, name=name) if sys.version_info >= (3, 8) else create_task(coroutine)


async def shop():
    store = Store()
    clerks = [start(clerk(store, number), f"clerk-{number}") for number in range(5)]
    await asyncio.gather(*clerks)


async def kitchen():
    queue = asyncio.Queue(maxsize=10)
    workers = [("producer", producer(queue))] + [(f"consumer-{number}", consumer(queue)) for number in range(3)]
    if sys.version_info < (3, 11):
        await asyncio.gather(*(start(worker, name) for name, worker in workers))
        return
    async with asyncio.TaskGroup() as group:
        for name, worker in workers:
            start(worker, name, group.create_task)


def end_with_input():
    # Whoever started this holds the other end.
    sys.stdin.buffer.read()
    os._exit(0)


async def main():
    threading.Thread(target=end_with_input, daemon=True).start()
    asyncio.get_running_loop().call_later(0.5, lambda: print("ready", flush=True))
    await asyncio.gather(start(shop(), "shop"), start(kitchen(), "kitchen"))


asyncio.run(main())
