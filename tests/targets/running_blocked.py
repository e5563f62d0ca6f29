"""A task that runs: it is in a system call, below plain functions; the others wait."""
import asyncio
import os
import threading

import truth

blocked = threading.Event()


class Driver:
    def fetch(self):
        blocked.set()
        return os.read(self.pipe, 1)

    def __init__(self):
        self.pipe, self.kept = os.pipe()


def query():
    return [Driver().fetch() for _ in range(2)]


async def handler():
    query()


async def request():
    await asyncio.sleep(0)
    await handler()


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(worker(), request())


truth.report_from_thread(blocked.is_set, edges=[("main", "worker"), ("main", "request")])
truth.run_loop(main)
