"""A server with known shares, see `pacing.Server`: it keeps its own account of the task-seconds at each of its await points.

With `forks` behind the share, children come and go all the time: forked ones that compute, forked ones that run a loop of their own, and
other programs. On the line `report` it prints its account so far, in which waits that are still going on count up to that moment.
"""

import asyncio
import functools
import itertools
import os
import subprocess
import sys

import pacing
import truth

FORK_SECONDS, CHILD_SECONDS = 0.2, 0.1


async def in_child():
    await asyncio.gather(*(asyncio.sleep(CHILD_SECONDS) for _ in range(100)))


def other_program():
    return subprocess.Popen([sys.executable, "-c", "pass"]).pid


def fork(then):
    """A child that does not come back."""
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(0)
    return pid


def multiply(loop, kinds, children):
    """Makes a child, and again after a while; those that have ended are reaped."""
    children.difference_update([pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]])
    children.add(next(kinds)())
    multiply.children += 1
    loop.call_later(FORK_SECONDS, multiply, loop, kinds, children)


multiply.children = 0


def report(server):
    points = dict(server.points(), gather=("main", "_GatheringFuture"))
    account = pacing.account(points, [__file__], truth.shown_name)
    tasks = len(asyncio.all_tasks(asyncio.get_running_loop()))
    truth.announce(dict(account, tasks=tasks, children=multiply.children))


def control(loop, load):
    load.control()
    loop.call_later(pacing.CONTROL_SECONDS, control, loop, load)


def announce_when_mixed(loop, server):
    if server.is_mixed():
        report(server)
    else:
        loop.call_later(0.05, announce_when_mixed, loop, server)


async def main():
    loop, queue = asyncio.get_running_loop(), asyncio.Queue()
    server = pacing.Server(asyncio.sleep, asyncio.Lock, queue.put_nowait, queue.get)
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report, server))
    control(loop, server.load)
    announce_when_mixed(loop, server)
    if sys.argv[2:] == ["forks"]:
        computes = functools.partial(fork, functools.partial(pacing.compute, CHILD_SECONDS))
        runs_loop = functools.partial(fork, lambda: asyncio.new_event_loop().run_until_complete(in_child()))
        multiply(loop, itertools.cycle([computes, runs_loop, other_program]), set())
    with pacing.Wait("gather"):
        await asyncio.gather(*(job() for job in server.jobs()))  # point: gather


asyncio.run(main())
