"""Tasks that were cancelled and go on: once, and twice; one that takes it back (3.11); and one that nobody cancelled."""
import asyncio

import truth


async def stubborn(times, takes_back=False):
    for _ in range(times):
        try:
            await truth.never()
        except asyncio.CancelledError:
            if takes_back:
                asyncio.current_task().uncancel()
    await truth.never()


async def main():
    can_take_back = hasattr(asyncio.Task, "uncancel")
    tasks = [
        (truth.create_task(stubborn(1), "once"), 1),
        (truth.create_task(stubborn(2), "twice"), 2),
        (truth.create_task(stubborn(1, can_take_back), "taken_back"), 1),
        (truth.create_task(stubborn(0), "spared"), 0),
    ]
    await asyncio.sleep(0)
    for task, times in tasks:
        for _ in range(times):
            task.cancel()
            # The cancellation reaches the future in one turn of the loop, and the task in the next.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    await asyncio.gather(*(task for task, _ in tasks))


truth.run(main, edges=[("main", "once"), ("main", "twice"), ("main", "taken_back"), ("main", "spared")])
