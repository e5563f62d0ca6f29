"""A task that computes without end inside a greenlet, which was begun by a greenlet."""
# needs: greenlet
import asyncio
import sys
import threading

import greenlet
import truth

spinning = threading.Event()


def compute():
    spinning.set()
    while True: pass  # One line, so that the truth is known.


def outer():
    greenlet.greenlet(compute).switch()


async def report():
    await asyncio.sleep(0)
    truth.apart[asyncio.current_task()] = sys._getframe()
    greenlet.greenlet(outer).switch()


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(worker(), report())


truth.report_from_thread(spinning.is_set, edges=[("main", "worker"), ("main", "report")])
truth.run_loop(main)
