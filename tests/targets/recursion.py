"""Recursion on the CPU: coroutines in themselves, and below them a function in itself."""
import asyncio
import threading

import truth

spinning = threading.Event()


def compute(depth):
    if depth > 1:
        return compute(depth - 1)
    spinning.set()
    while True: pass  # One line, so that the truth is known.


async def descend(depth):
    if depth > 1:
        return await descend(depth - 1)
    return compute(120)


async def main():
    await descend(120)


truth.report_from_thread(spinning.is_set)
truth.run_loop(main)
