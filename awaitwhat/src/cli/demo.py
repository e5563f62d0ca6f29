"""A small service to look at: nested coroutines, a gather, a lock that is fought over, a queue, and sleeps."""

import asyncio


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


async def shop():
    store = Store()
    clerks = [asyncio.create_task(clerk(store, number), name=f"clerk-{number}") for number in range(5)]
    await asyncio.gather(*clerks)


async def kitchen():
    queue = asyncio.Queue(maxsize=10)
    async with asyncio.TaskGroup() as group:
        group.create_task(producer(queue), name="producer")
        for number in range(3):
            group.create_task(consumer(queue), name=f"consumer-{number}")


async def main():
    asyncio.get_running_loop().call_later(0.5, lambda: print("ready", flush=True))
    await asyncio.gather(
        asyncio.create_task(shop(), name="shop"),
        asyncio.create_task(kitchen(), name="kitchen"),
    )


asyncio.run(main())
