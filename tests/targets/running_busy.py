"""A task that computes without end, below nested functions, and holds up its loop."""
import asyncio
import threading

import truth

spinning = threading.Event()


def innermost():
    spinning.set()
    while True: pass  # One line, so that the truth is known.


def middle():
    innermost()


def outer():
    middle()


async def computes():
    outer()


async def request():
    await asyncio.sleep(0)
    await computes()


async def worker():
    await truth.never()


async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(worker())
        group.create_task(request())


truth.report_from_thread(spinning.is_set, edges=[("main", "worker"), ("main", "request")])
truth.end_with_stdin()
with asyncio.Runner() as runner:
    truth.enter_loop(runner.get_loop())
    runner.run(main())
