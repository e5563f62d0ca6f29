"""Tasks that wait for several others, of which some have ended; it says of each how many have, and how."""
import sys

if "pure" in sys.argv:
    sys.modules["_asyncio"] = None

import asyncio

import truth

# By the name of a task: what is known of its wait.
expected = {}
tasks = []
futures = []


async def at(awaitable):
    return await awaitable


def start(name, coroutine, **facts):
    """A task, and what is to be told of what it waits for."""
    task = truth.create_task(coroutine, name)
    tasks.append(task)
    expected[truth.address(task)] = {"name": name, **facts}
    return task


def several():
    """Futures that end in each of the ways, and two that do not; some are tasks."""
    loop = asyncio.get_running_loop()
    pending = [truth.create_task(at(truth.never()), "child"), loop.create_future()]
    done, failed, cancelled = loop.create_future(), loop.create_future(), loop.create_future()
    failed_as_well = loop.create_future()
    futures.extend([*pending, done, failed, failed_as_well, cancelled])

    def end():
        done.set_result(None)
        failed.set_exception(ValueError())
        failed_as_well.set_exception(KeyError())
        cancelled.cancel()

    return futures[-6:], end


COUNTS = {"count": 6, "pending": 2, "done": 1, "failed": 2, "cancelled": 1}


async def gathering(children):
    await asyncio.gather(*children, return_exceptions=True)


async def waiting(children, when):
    await asyncio.wait(children, return_when=when)


async def one_after_the_other(children):
    for following in asyncio.as_completed(children):
        try:
            await following
        except (ValueError, KeyError, asyncio.CancelledError):
            pass


async def in_group(children):
    async with asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(at(child))


async def stubborn():
    """A task that ends late though it was cancelled."""
    while True:
        try:
            await truth.never()
        except asyncio.CancelledError:
            pass


async def failing_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(stubborn())
        group.create_task(at(asyncio.sleep(0)))
        await asyncio.sleep(0)

        async def fail():
            raise ValueError

        group.create_task(fail())


async def shielding(inner):
    await asyncio.shield(inner)


async def main():
    ends = []
    children, end = several()
    ends.append(end)
    start("gather", gathering(children), kind="gather", operation="gather", children=COUNTS)
    for when in (asyncio.ALL_COMPLETED,):
        children, end = several()
        ends.append(end)
        facts = {"operation": "wait", "detail": {"return_when": when}, "children": COUNTS}
        start(f"wait {when}", waiting(children, when), kind="group", **facts)
    none = {"done": 0, "failed": 0, "cancelled": 0}
    children, _ = several()
    first = {"operation": "wait", "children": {"count": 6, "pending": 6, **none}}
    start("wait for the first", waiting(children, asyncio.FIRST_COMPLETED), kind="group", **first)
    children, end = several()
    ends.append(end)
    # Up to 3.12 nothing leads to those that are left.
    left = {"children": {"pending": 2}} if sys.version_info >= (3, 13) else {}
    start("as_completed", one_after_the_other(children), kind="group", operation="as_completed", **left)
    if hasattr(asyncio, "TaskGroup"):
        children, _ = several()
        start("group", in_group(children), kind="group", type="TaskGroup", children={"pending": 6, "failed": 0})
        start("failing group", failing_group(), kind="group", type="TaskGroup", children={"pending": 1, "failed": 1})
    inner = truth.create_task(at(truth.never()), "inner")
    tasks.append(inner)
    start("shield", shielding(inner), kind="task", id=truth.address(inner), type="Task", operation="shield", label="inner")
    future = truth.never()
    start("shielded future", shielding(future), kind="future", id=truth.address(future), type="Future", operation="shield")
    # A callback of that name is not one of asyncio's.
    plain = like_shield()
    bare = {"kind": "future", "id": truth.address(plain), "type": "Future", "label": "awaitable", "operation": None}
    # What is written in Python is not told to be a bare future.
    start("plain", at(plain), **({} if "pure" in sys.argv else bare))
    for _ in range(4):
        await asyncio.sleep(0)
    for end in ends:
        end()
    await truth.never()


def like_shield():
    """A future that has a callback which is called like that of a shield."""
    future, inner = truth.never(), truth.never()

    def callback(_):
        return inner

    callback.__qualname__ = "shield.<locals>._outer_done_callback"
    future.add_done_callback(callback)
    return future


truth.run(main, ready=lambda: bool(expected), more=lambda: {"expected": expected})
