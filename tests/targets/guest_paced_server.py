"""`trio_paced_server` as a guest of asyncio, which has tasks of its own: both have known shares, and compute in one thread."""

import asyncio
import random

import pacing
import trio_paced_server as guest

# As the guest has found it.
trio, trio_truth = guest.trio, guest.trio_truth

VISITORS, HOGS = 80, 5

# Await points of asyncio's tasks.
POINTS = {
    "visit": ("visit", "sleep"),
    "rest": ("rest", "sleep"),
    "host": ("main", "Future"),
}


async def visit(load):
    while True:
        with pacing.Wait("visit"):
            await asyncio.sleep(random.uniform(0.3, 0.9))  # point: visit
        load.step()


async def rest():
    while True:
        pacing.compute(pacing.HOG_SECONDS)
        with pacing.Wait("rest"):
            await asyncio.sleep(0)  # point: rest


def report(server, runner):
    account = pacing.account(dict(guest.points(server), **POINTS), [guest.__file__, __file__], trio_truth.shown_name)
    trio_truth.announce(dict(account, tasks=len(runner.tasks) + len(asyncio.all_tasks(loop))))


guest.report = report


async def main():
    global loop
    loop, server = asyncio.get_running_loop(), guest.make_server()
    kept = [asyncio.ensure_future(visit(server.load)) for _ in range(VISITORS)]
    kept += [asyncio.ensure_future(rest()) for _ in range(HOGS if server.is_saturated else 0)]
    trio.lowlevel.start_guest_run(
        guest.main,
        server,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=lambda outcome: outcome.unwrap(),
    )
    with pacing.Wait("host"):
        await loop.create_future()  # point: host


asyncio.run(main())
