"""A task that has not begun: its loop is held up before it comes to it."""
import asyncio
import threading

import truth


async def waits():
    await truth.never()


async def not_begun():
    await truth.never()


async def main():
    truth.create_task(waits(), "waits")
    await asyncio.sleep(0)
    # Both wait in the loop's queue behind the callback that never returns.
    asyncio.get_running_loop().call_soon(threading.Event().wait)
    kept.append(truth.create_task(not_begun(), "not begun"))
    stuck.set()
    await truth.never()


kept = []
stuck = threading.Event()
truth.report_from_thread(stuck.is_set)
truth.run_loop(main)
