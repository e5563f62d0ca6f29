"""asyncio without the `_asyncio` module: every task and future is written in Python, and so is the running loop's place."""
import sys

sys.modules["_asyncio"] = None

import asyncio
import threading

import truth

LOOPS = 2
parked = threading.Barrier(LOOPS + 1)


class Named(asyncio.Task):
    """A subclass with attributes of its own before those of a task."""

    def __init__(self, coroutine, *, loop, **options):
        self.first = self.second = "mine"
        super().__init__(coroutine, loop=loop, **options)


async def inner():
    await truth.never()


async def worker(number):
    await inner()


async def sleeper():
    await asyncio.sleep(3600)


async def main(number):
    truth.name_task(asyncio.current_task(), f"main {number}")
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    workers = [truth.create_task(worker(number), f"worker {number} {n}") for n in range(3)]
    special = truth.name_task(Named(sleeper(), loop=loop), f"special {number}\n\u00e9\u4e16\U0001f600" + "x" * 300)
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    kept.append(done)
    loop.call_later(0.05, parked.wait)
    await asyncio.gather(*workers, asyncio.shield(special))


kept = []
assert asyncio.Task is asyncio.tasks._PyTask
EDGES = [(f"main {n}", f"worker {n} {m}") for n in range(LOOPS) for m in range(3)]
EDGES += [(f"main {n}", f"special {n}\n\u00e9\u4e16\U0001f600" + "x" * 300) for n in range(LOOPS)]
truth.end_with_stdin()
for number in range(LOOPS):
    threading.Thread(target=asyncio.run, args=(main(number),), daemon=True).start()
parked.wait()
truth.report_from_thread(lambda: True, EDGES)
threading.Event().wait()
