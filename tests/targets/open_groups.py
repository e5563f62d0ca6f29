"""Task groups whose bodies await something else than their children; it says for every task which groups it has open, with their children."""
import sys
from contextlib import asynccontextmanager

import truth

LIBRARY = sys.argv[1]
# By the address of a task: the addresses of the children of each group that it has open.
expected = {}


async def child(children):
    import asyncio

    children.append(hex(id(asyncio.current_task())))
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def group_of(count, children):
    """A group with so many children, by the library that is asked for."""
    if LIBRARY == "anyio":
        import anyio

        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(child, children)
            yield
    else:
        import asyncio

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(child(children))
            yield


async def opener():
    """Two groups inside of each other."""
    import asyncio

    first, second = [], []
    expected[hex(id(asyncio.current_task()))] = [first, second]
    async with group_of(2, first), group_of(1, second):
        await asyncio.get_running_loop().create_future()


async def leaver():
    """It waits for its children, so that its group is not open any more."""
    async with group_of(1, []):
        pass


async def main():
    import asyncio

    tasks = [asyncio.ensure_future(opener()), asyncio.ensure_future(leaver())]
    await asyncio.wait(tasks)


def told():
    for groups in expected.values():
        for group in groups:
            group.sort(key=lambda task: int(task, 16))
    return {"expected": expected}


truth.run(main, ready=lambda: bool(expected), more=told)
