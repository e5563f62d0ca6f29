"""Event loops in several threads, and none in the main thread."""
import asyncio
import threading

import truth

LOOPS = 6
parked = threading.Barrier(LOOPS + 1)


async def worker():
    await asyncio.sleep(3600)


async def main(number):
    truth.name_task(asyncio.current_task(), f"main {number}")
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    workers = [truth.create_task(worker(), f"worker {number}") for _ in range(3)]
    loop.call_later(0.05, parked.wait)
    await asyncio.gather(*workers)


def reports():
    parked.wait()
    truth.report_from_thread(lambda: True, EDGES)


EDGES = [(f"main {number}", f"worker {number}") for number in range(LOOPS)]
truth.end_with_stdin()
for number in range(LOOPS):
    threading.Thread(target=asyncio.run, args=(main(number),), name=f"loop {number}", daemon=True).start()
reports()
threading.Event().wait()
