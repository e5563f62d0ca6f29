"""Tasks that were cancelled and do not end: shielded, waiting for children who are, and in a thread that cannot be."""
# needs: trio
import threading

import trio
import trio_truth

taken = threading.Event()


def hold_thread():
    taken.set()
    threading.Event().wait()


async def shielded():
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()


async def waits_for_shielded():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shielded)


async def in_thread():
    await trio.to_thread.run_sync(hold_thread)


async def cleans_up():
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.Event().wait()


async def main():
    async with trio.open_nursery() as nursery:
        for function in (shielded, waits_for_shielded, in_thread, cleans_up):
            nursery.start_soon(function)
        await trio.to_thread.run_sync(taken.wait)
        nursery.cancel_scope.cancel()


trio_truth.run(main, ready=taken.is_set)
