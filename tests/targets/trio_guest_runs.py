"""trio as a guest of asyncio: a task of trio blocks the thread that both share."""
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
    await trio.sleep(0.01)
    query(pipe)


async def trio_main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(blocks, os.pipe()[0])


async def waits():
    await truth.never()


async def asyncio_main():
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    trio_truth.run_as_guest(loop, trio_main)
    await asyncio.wait([asyncio.ensure_future(waits())])


def asyncio_tasks():
    return truth.snapshot(truth.Edges([("asyncio_main", "waits")]))["tasks"]


blocked = threading.Event()
trio_truth.end_with_stdin()
trio_truth.report_blocked(blocked.is_set, others=asyncio_tasks)
asyncio.run(asyncio_main())
