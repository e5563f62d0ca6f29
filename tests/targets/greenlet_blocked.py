"""A task that works inside a greenlet, below plain functions: the greenlet has a stack of its own, and the task's coroutines are on another one."""
# needs: greenlet
import asyncio
import os
import sys
import threading

import greenlet
import truth

blocked = threading.Event()


def load_rows():
    pipe, _kept = os.pipe()
    blocked.set()
    os.read(pipe, 1)


def query():
    load_rows()


async def spawn():
    truth.apart[asyncio.current_task()] = sys._getframe()
    greenlet.greenlet(query).switch()


async def execute(statement, *, attempts=1):
    await spawn()
    return statement, attempts


async def report():
    await asyncio.sleep(0)
    # More than one value on its stack, of which the last is awaited.
    print(1, [2, await execute("SELECT")])


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(worker(), report())


truth.report_from_thread(blocked.is_set, edges=[("main", "worker"), ("main", "report")])
truth.run_loop(main)
