"""trio as a guest of asyncio: a task of asyncio blocks the thread that both share."""
# needs: trio
import asyncio
import os
import threading

import trio
import trio_truth

import truth


def query(pipe):
    blocked.set()
    os.read(pipe, 1)


async def blocks(pipe):
    await trio_parked.wait()
    query(pipe)


async def trio_main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.sleep(0.01)
        trio_parked.set()
        # Its next turn comes while the thread is blocked, or never.
        await trio.sleep_forever()


async def asyncio_main():
    global trio_parked
    trio_parked = asyncio.Event()
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    trio_truth.run_as_guest(loop, trio_main)
    await asyncio.wait([asyncio.ensure_future(blocks(os.pipe()[0]))])


def asyncio_tasks():
    return truth.snapshot(truth.Edges([("asyncio_main", "blocks")]))["tasks"]


blocked = threading.Event()
trio_truth.end_with_stdin()
trio_truth.report_blocked(blocked.is_set, others=asyncio_tasks)
asyncio.run(asyncio_main())
