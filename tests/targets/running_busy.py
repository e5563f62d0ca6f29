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
    await asyncio.gather(worker(), request())


truth.report_from_thread(spinning.is_set, edges=[("main", "worker"), ("main", "request")])
truth.run_loop(main)
