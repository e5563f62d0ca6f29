"""Event loops in several threads, and none in the main thread."""
import asyncio
import threading

import truth

LOOPS = 6
parked = threading.Barrier(LOOPS + 1)


async def worker():
    await asyncio.sleep(3600)


async def main(number):
    asyncio.current_task().set_name(f"main {number}")
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(worker(), name=f"worker {number}")
        await asyncio.sleep(0)
        loop.call_later(0.05, parked.wait)


def reports():
    parked.wait()
    truth.report_from_thread(lambda: True, EDGES)


EDGES = [(f"main {number}", f"worker {number}") for number in range(LOOPS)]
truth.end_with_stdin()
for number in range(LOOPS):
    threading.Thread(target=asyncio.run, args=(main(number),), name=f"loop {number}", daemon=True).start()
reports()
threading.Event().wait()
