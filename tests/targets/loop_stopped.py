"""A loop that was stopped while its tasks were pending: they belong to no thread."""
import asyncio
import threading

import truth


async def worker():
    await truth.never()


async def main():
    kept.append(truth.create_task(worker(), "left behind"))
    await asyncio.sleep(0)


kept = []
truth.end_with_stdin()
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
truth.leave_loop(loop)
truth.report()
threading.Event().wait()
