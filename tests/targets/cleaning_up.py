"""A cancelled task that cleans up: the coroutine that it awaits, two deep, is in a system call below plain functions; the others wait.

Before 3.10 (and in its early releases) what `throw()` goes through is not linked with the frames of the thread: such a task cannot be told.
"""
import asyncio
import os
import sys
import threading

import truth

blocked = threading.Event()
pipe, kept = os.pipe()


def release():
    blocked.set()
    os.read(pipe, 1)


async def transaction():
    try:
        await truth.never()
    finally:
        release()


async def handler():
    await transaction()


async def request():
    await handler()


async def worker():
    await truth.never()


async def main():
    cancelled = truth.create_task(request(), "cancelled")
    if sys.version_info < (3, 10):
        truth.torn.add(cancelled)
    tasks = [truth.create_task(worker(), "worker"), cancelled]
    # It is cancelled where it waits, and not before it has begun.
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(*tasks)


truth.report_from_thread(blocked.is_set, edges=[("main", "worker"), ("main", "cancelled")])
truth.run_loop(main)
