"""A process forked after its parent had run a loop, which runs a loop of its own. It is the child that reports."""
import asyncio
import os

import truth


async def earlier():
    await asyncio.sleep(0)


async def worker():
    await asyncio.sleep(3600)


async def main():
    await truth.create_task(worker(), "child's")


asyncio.run(earlier())
child = os.fork()
if child == 0:
    truth.run(main, edges=[("main", "worker")])
else:
    os.waitpid(child, 0)
