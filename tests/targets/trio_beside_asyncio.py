"""trio in one thread and asyncio in another."""
# needs: trio
import asyncio
import threading

import trio
import trio_truth

import truth


async def waits():
    await truth.never()


async def asyncio_main():
    truth.enter_loop(asyncio.get_running_loop())
    tasks = [asyncio.ensure_future(waits()) for _ in range(2)]
    parked.set()
    await asyncio.wait(tasks)


async def trio_main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


def asyncio_tasks():
    return truth.snapshot(truth.Edges(EDGES))["tasks"]


EDGES = [("asyncio_main", "waits")]
parked = threading.Event()
trio_truth.end_with_stdin()
trio_truth.report_once_settled(parked.is_set, others=asyncio_tasks)
threading.Thread(target=asyncio.run, args=(asyncio_main(),), name="asyncio", daemon=True).start()
trio.run(trio_truth.entered, trio_main)
