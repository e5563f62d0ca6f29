"""uvloop's event loop: its tasks are asyncio's."""
# needs: uvloop
import asyncio

import truth
import uvloop


async def sleeper():
    await asyncio.sleep(3600)


async def at_lock(lock):
    async with lock:
        await sleeper()


async def main():
    lock = asyncio.Lock()
    await asyncio.gather(at_lock(lock), at_lock(lock))


truth.run(main, edges=[("main", "at_lock")], loop_factory=uvloop.new_event_loop)
