"""Tasks that wait for jobs in threads, some of which have begun; what each job is at, the target says itself.

With the argument `python`, futures are written in Python; with `busy`, there is one job more, which computes; with `working`, the loop has work
all the time; with `anyio`, there is one job more, in a thread of anyio's.
"""

import sys

if "python" in sys.argv[1:]:
    sys.modules["_asyncio"] = None

import asyncio
import functools
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import truth

POOL_SIZE = 2
POOL_JOBS = 5

# Thread and its native id, by the label of the job that it is at.
at_work = {}
labels = {}
never = threading.Event()
lock = threading.Lock()
lock.acquire()


def note(label):
    at_work[label] = (threading.current_thread(), truth.native_id())


def held(label):
    note(label)
    never.wait()


class Clerk:
    def file(self, label):
        note(label)
        hold_deep(20)


def hold_deep(depth):
    if depth:
        hold_deep(depth - 1)
    else:
        never.wait()


def resolve(host, *_others):
    held(host)


def compute():
    note("busy")
    number = 0
    while not never.is_set():
        number += 1


socket.getaddrinfo = resolve
pools = {
    "reports": ThreadPoolExecutor(POOL_SIZE, thread_name_prefix="reports"),
    "locks": ThreadPoolExecutor(1, thread_name_prefix="locks"),
    "busy": ThreadPoolExecutor(1, thread_name_prefix="busy"),
}
other = {}


async def inner():
    await truth.never()


async def in_pool(pool, function, *arguments):
    await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


async def wrapped():
    await asyncio.wrap_future(pools["locks"].submit(lock.acquire))


async def resolved():
    await asyncio.get_running_loop().getaddrinfo("host.test", 80)


async def remote():
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(inner(), other["loop"]))


async def work():
    while True:
        sum(range(1000))
        await asyncio.sleep(0)


def begin(coroutine, label):
    labels[truth.create_task(coroutine, label)] = label


def run_other():
    loop = asyncio.new_event_loop()
    other["loop"] = loop
    asyncio.set_event_loop(loop)
    loop.run_forever()


async def main():
    threading.Thread(target=run_other, name="other", daemon=True).start()
    while "loop" not in other:
        await asyncio.sleep(0.01)
    for number in range(POOL_JOBS):
        label = f"report-{number}"
        begin(in_pool(pools["reports"], held, label), label)
    begin(in_pool(None, functools.partial(Clerk().file, "partial")), "partial")
    begin(wrapped(), "wrapped")
    begin(resolved(), "host.test")
    begin(remote(), "remote")
    if hasattr(asyncio, "to_thread"):
        begin(asyncio.to_thread(held, "to_thread"), "to_thread")
    if "busy" in sys.argv[1:]:
        begin(in_pool(pools["busy"], compute), "busy")
    if "anyio" in sys.argv[1:]:
        import anyio.to_thread

        begin(anyio.to_thread.run_sync(held, "anyio"), "anyio")
    settle(None)
    await (work() if "working" in sys.argv[1:] else truth.never())


# Where threads wait for jobs.
WORKER_FILES = ("/concurrent/futures/thread.py", "/anyio/_backends/_asyncio.py")
# What each job was given to call, by label.
FUNCTIONS = {"partial": Clerk.file, "host.test": resolve, "wrapped": lock.acquire, "busy": compute}


def stack_of(thread):
    """The frames of the job that a thread is at, innermost first."""
    frame, frames = sys._current_frames()[thread.ident], []
    while frame is not None and not frame.f_code.co_filename.endswith(WORKER_FILES):
        frames.append(truth.frame_entry(frame))
        frame = frame.f_back
    return frames


def describe(task, label):
    waiter = task._fut_waiter
    answer = {
        "label": label,
        "task": truth.address(task),
        "waiter": waiter is not None and truth.address(waiter),
        "function": FUNCTIONS.get(label, held).__qualname__,
    }
    if label == "remote":
        inner_tasks = truth.all_tasks(other["loop"])
        return {**answer, "state": "queued", "function": None, "inner": [truth.address(it) for it in inner_tasks]}
    if label == "wrapped":
        named = [it for it in threading.enumerate() if it.name.startswith("locks")]
        for thread in named:
            at_work[label] = (thread, getattr(thread, "native_id", None))
    pool = "reports" if label.startswith("report") else {"wrapped": "locks", "busy": "busy"}.get(label)
    answer["pool_size"] = pools[pool]._max_workers if pool else None
    answer["prefix"] = pool
    if label in at_work:
        thread, native_id = at_work[label]
        stack = stack_of(thread)
        return {
            **answer,
            "state": "running",
            "thread": {"tid": native_id, "name": thread.name, "stack": stack},
        }
    before = [it for it in labels.values() if it.startswith("report") and it not in at_work and it < label]
    return {**answer, "state": "queued", "queued_before": len(before)}


def settle(before):
    loop = asyncio.get_running_loop()
    running = [label for label in labels.values() if label in at_work or label == "wrapped"]
    expected = len(labels) - (POOL_JOBS - POOL_SIZE) - 1
    is_begun = len(running) == expected and pools["locks"]._work_queue.qsize() == 0
    now = [describe(task, label) for task, label in labels.items()] if is_begun else None
    stable = [{**job, "thread": None} if job["label"] == "busy" else job for job in now or ()]
    is_complete = all(job["waiter"] and job.get("inner", True) for job in stable)
    if now and is_complete and stable == before:
        truth.announce({"jobs": now})
    else:
        loop.call_later(truth.SETTLING_SECONDS, settle, stable)


truth.run_loop(main)
