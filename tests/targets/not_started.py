"""A task that has not begun: its loop is held up before it comes to it."""
import asyncio
import threading

import truth


async def waits():
    await truth.never()


async def not_begun():
    await truth.never()


async def main():
    asyncio.create_task(waits(), name="waits")
    await asyncio.sleep(0)
    # Both wait in the loop's queue behind the callback that never returns.
    asyncio.get_running_loop().call_soon(threading.Event().wait)
    kept.append(asyncio.create_task(not_begun(), name="not begun"))
    stuck.set()
    await truth.never()


kept = []
stuck = threading.Event()
truth.report_from_thread(stuck.is_set)
truth.end_with_stdin()
with asyncio.Runner() as runner:
    truth.enter_loop(runner.get_loop())
    runner.run(main())
