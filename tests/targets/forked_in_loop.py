"""A process forked by a callback of its parent's loop: its copy of the loop does not run, and its copies of the tasks have no thread. It is the child that reports."""
import asyncio
import os
import threading

import truth


async def worker():
    await truth.never()


async def main():
    task = truth.create_task(worker(), "the parent's")
    asyncio.get_running_loop().call_later(0, fork, asyncio.get_running_loop())
    await task


def fork(loop):
    child = os.fork()
    if child != 0:
        os.waitpid(child, 0)
        os._exit(0)
    truth.end_with_stdin()
    truth.leave_loop(loop)
    truth.report(edges=[("main", "worker")])
    threading.Event().wait()


asyncio.run(main())
