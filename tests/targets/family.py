"""A process with children: all have event loops, and each tells its own truth.

Lines on standard input are orders for this process, answered by a line each: `fork` makes a child by forking where a loop runs, `bare`
one without a loop of its own, `deep` one whose child reports, and `spawn` one that is a new program. `end PID` ends a child and waits
for it; `exec PID` has it become `sleep`, `again PID` a Python with another loop.

With the argument `child` this is the program that `spawn` starts, with `forking` a process that orders itself a `fork` at once.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import truth


async def work():
    await truth.never()


async def child_main():
    await asyncio.gather(work(), work())


async def main():
    await asyncio.gather(work(), work(), work())


def run(coroutine_function, report):
    """Runs a loop, and reports once its tasks are parked."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    truth.enter_loop(loop)
    task = loop.create_task(coroutine_function())

    def parked():
        members = [task, *(other for other in asyncio.all_tasks(loop) if other is not task)]
        if len(members) > 1 and all(member._fut_waiter is not None for member in members):
            report()
        else:
            loop.call_soon(parked)

    loop.call_soon(parked)
    loop.run_until_complete(task)


def child():
    """What a child does, until a signal tells it otherwise."""
    truth._threads.clear()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: os.execvp("sleep", ["sleep", "7200"]))
    signal.signal(signal.SIGUSR2, lambda *_: os.execv(sys.executable, [sys.executable, __file__, "child"]))
    run(child_main, tell)


def bare():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    truth.announce({})
    while True:
        signal.pause()


def fork(then):
    # A forked process must not write what its parent has not written yet.
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(1)
    return pid


def deep():
    """A child with a child; the latter reports."""
    grandchild = fork(child)
    signal.signal(signal.SIGTERM, lambda *_: (os.kill(grandchild, signal.SIGTERM), os._exit(0)))
    while True:
        signal.pause()


_children = set()


def obey(line):
    order, _, number = line.partition(" ")
    if order == "spawn":
        _children.add(subprocess.Popen([sys.executable, __file__, "child"]).pid)
    elif order in ("fork", "bare", "deep"):
        _children.add(fork({"fork": child, "bare": bare, "deep": deep}[order]))
    elif order in ("exec", "again"):
        os.kill(int(number), signal.SIGUSR1 if order == "exec" else signal.SIGUSR2)
    elif order == "end":
        os.kill(int(number), signal.SIGTERM)
        os.waitpid(int(number), 0)
        _children.discard(int(number))
        truth.announce({})


def read_orders(loop):
    """Has orders obeyed where the loop runs. All end with standard input."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(obey, line.strip())
    for pid in _children:
        os.kill(pid, signal.SIGTERM)
    os._exit(0)


def tell():
    truth.report(edges=[("main", "work"), ("child_main", "work")])


def begun():
    tell()
    threading.Thread(target=read_orders, args=(asyncio.get_running_loop(),), daemon=True).start()
    if sys.argv[1:] == ["forking"]:
        obey("fork")


if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        child()
    else:
        run(main, begun)
