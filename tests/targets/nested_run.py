"""A loop that is run again from within its own tasks, as `nest_asyncio` does: three tasks are at work, each within the one before."""
import asyncio
import threading

import truth

inside = threading.Event()


def run_until(future):
    loop = asyncio.get_running_loop()
    asyncio.tasks._leave_task(loop, asyncio.current_task())
    while not future.done():
        loop._run_once()


async def innermost():
    never = truth.never()
    asyncio.get_running_loop().call_later(truth.SETTLING_SECONDS, inside.set)
    run_until(never)


async def middle():
    run_until(truth.create_task(innermost(), "innermost"))


async def bystander():
    await truth.never()


async def main():
    other = truth.create_task(bystander(), "bystander")
    run_until(truth.create_task(middle(), "middle"))
    await other


truth.report_from_thread(inside.is_set)
truth.run_loop(main)
