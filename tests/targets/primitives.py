"""Lock, Queue, Event, Condition, Semaphore and (since 3.11) Barrier, each waited at."""
import asyncio

import truth


async def at_lock(lock):
    async with lock:
        pass


async def at_get(queue):
    await queue.get()


async def at_put(queue):
    await queue.put(2)


async def at_join(queue):
    await queue.join()


async def at_event(event):
    await event.wait()


async def at_condition(condition):
    async with condition:
        await condition.wait()


async def at_condition_for(condition):
    async with condition:
        await condition.wait_for(lambda: False)


async def at_semaphore(semaphore):
    async with semaphore:
        pass


async def at_barrier(barrier):
    await barrier.wait()


async def main():
    lock, full = asyncio.Lock(), asyncio.Queue(maxsize=1)
    await lock.acquire()
    full.put_nowait(1)
    members = [
        at_lock(lock),
        at_get(asyncio.Queue()),
        at_put(full),
        at_join(full),
        at_event(asyncio.Event()),
        at_condition(asyncio.Condition()),
        at_condition_for(asyncio.Condition()),
        at_semaphore(asyncio.Semaphore(0)),
    ]
    if HAS_BARRIER:
        members.append(at_barrier(asyncio.Barrier(2)))
    await asyncio.gather(*members)


HAS_BARRIER = hasattr(asyncio, "Barrier")
MEMBERS = "lock get put join event condition condition_for semaphore".split() + ["barrier"] * HAS_BARRIER
truth.run(main, edges=[("main", f"at_{it}") for it in MEMBERS])
