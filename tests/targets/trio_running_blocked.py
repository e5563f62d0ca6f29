"""A trio task that runs: it is in a system call, below plain functions and a generator; another one is ready to run."""
# needs: trio
import os
import threading

import trio
import trio_truth

blocked = threading.Event()
# The write end stays open, so that reading never ends.
read_end, _write_end = os.pipe()


def numbers():
    yield 1
    blocked.set()
    yield os.read(read_end, 1)


def query():
    return sum(numbers())


async def handler():
    await trio.lowlevel.checkpoint()
    query()


async def worker():
    await trio.Event().wait()


async def ready(event):
    await event.wait()


async def waker(event):
    await trio.sleep(0)
    await trio.sleep(0)
    event.set()
    await handler_after_wake()


async def handler_after_wake():
    query()


async def main():
    event = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        nursery.start_soon(ready, event)
        nursery.start_soon(waker, event)


trio_truth.end_with_stdin()
trio_truth.report_blocked(blocked.is_set)
trio.run(trio_truth.entered, main)
