"""A server on trio with known shares, as `paced_server`."""

import importlib.util
import os
import sys
import tempfile

import pacing

# Whose code a function is, is told by its path: trio has to lie where packages are installed.
with tempfile.TemporaryDirectory() as folder:
    packages = os.path.join(folder, "site-packages")
    os.symlink(os.path.dirname(os.path.dirname(importlib.util.find_spec("trio").origin)), packages)
    sys.path.insert(0, packages)
    import trio
    import trio_truth

    sys.path.remove(packages)

POINTS = {
    "nursery": ("main", "NurseryManager.__aexit__"),
    "control": ("control", "sleep"),
}


async def control(server):
    announced = False
    while True:
        server.load.control()
        if not announced and server.is_mixed():
            announced = True
            report(server, trio.lowlevel.current_task()._runner)
        with pacing.Wait("control"):
            await trio.sleep(pacing.CONTROL_SECONDS)  # point: control


def points(server):
    return dict(server.points(), **POINTS)


def report(server, runner):
    account = pacing.account(points(server), [__file__], trio_truth.shown_name)
    trio_truth.announce(dict(account, tasks=len(runner.tasks)))


def make_server():
    sender, receiver = trio.open_memory_channel(float("inf"))
    return pacing.Server(trio.sleep, trio.Lock, sender.send_nowait, receiver.receive)


async def main(server):
    token, runner = trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()._runner
    trio_truth.end_with_stdin(lambda line: token.run_sync_soon(report, server, runner))
    wait = pacing.Wait("nursery")
    async with trio.open_nursery() as nursery:  # point: nursery
        for job in server.jobs():
            nursery.start_soon(job)
        nursery.start_soon(control, server)
        wait.__enter__()


if __name__ == "__main__":
    trio.run(main, make_server())
