"""Tasks whose futures have ended, before the loop has woken them: a callback does not let it turn. Futures are written in C and in Python."""
import asyncio
import threading

import truth

blocked = threading.Event()


async def worker(future):
    await future


async def at_lock(lock):
    async with lock:
        pass


def end_all(ends):
    for end in ends:
        end()
    blocked.set()
    threading.Event().wait()


async def main():
    loop = asyncio.get_running_loop()
    ends = []
    for kind in (asyncio.Future, asyncio.futures._PyFuture):
        for way in ("result", "exception", "cancelled", "pending"):
            future = kind(loop=loop)
            kept.append(truth.create_task(worker(future), f"{kind.__module__} {way}"))
            kept.append(future)
            if way == "result":
                ends.append(lambda future=future: future.set_result(1))
            elif way == "exception":
                ends.append(lambda future=future: future.set_exception(ValueError()))
            elif way == "cancelled":
                ends.append(future.cancel)
    lock = asyncio.Lock()
    await lock.acquire()
    kept.append(truth.create_task(at_lock(lock), "next in line"))
    ends.append(lock.release)
    asleep = truth.create_task(asyncio.sleep(3600), "asleep")
    ends.append(asleep.cancel)
    for _ in range(3):
        await asyncio.sleep(0)
    loop.call_soon(end_all, ends)
    await truth.never()


kept = []
truth.report_from_thread(blocked.is_set)
truth.run_loop(main)
