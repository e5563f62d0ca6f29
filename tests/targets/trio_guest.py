"""trio as a guest of asyncio: tasks of both in one thread, and all of them wait."""
# needs: trio
import asyncio

import trio
import trio_truth

import truth


async def waits():
    await truth.never()


async def child():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep_forever()


async def trio_main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 3600)
        nursery.start_soon(child)


async def asyncio_main():
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    tasks = [asyncio.ensure_future(waits()) for _ in range(2)]
    trio_truth.run_as_guest(loop, trio_main)
    parked.append(True)
    await asyncio.wait(tasks)


def asyncio_tasks():
    return truth.snapshot(truth.Edges([("asyncio_main", "waits")]))["tasks"]


parked = []
trio_truth.end_with_stdin()
trio_truth.report_once_settled(lambda: parked, others=asyncio_tasks)
asyncio.run(asyncio_main())
