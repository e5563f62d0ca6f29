"""Tasks that are inside of `with` and `async with` blocks, and tasks that only enter one; each says which objects those of its own are."""
import asyncio
import contextlib
import threading

import truth

# The objects that each task is inside of, by what the task is called.
inside = {}


class Plain:
    """A context manager, asynchronous or not."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        pass


class SlowEntry(Plain):
    async def __aenter__(self):
        await truth.never()


class SlowExit(Plain):
    async def __aexit__(self, *exception):
        await truth.never()


class Renamed:
    """Its methods are called otherwise by their code."""

    async def enter(self):
        return self

    async def leave(self, *exception):
        pass

    __aenter__ = enter
    __aexit__ = leave


def hold(name, *objects):
    inside[name] = [truth.address(it) for it in objects]


async def nested():
    one, two, three = asyncio.Lock(), Plain(), asyncio.Semaphore(2)
    async with one:
        with two:
            async with three:
                hold("nested", one, two, three)
                await truth.never()


async def two_frames():
    outer = Plain()
    with outer:
        await inner(outer)


async def inner(outer):
    lock = asyncio.Lock()
    for _ in range(3):
        async with lock:
            hold("two_frames", outer, lock)
            await truth.never()


async def of_c():
    # A context manager in C.
    lock = threading.Lock()
    with lock:
        hold("of_c", lock)
        await truth.never()


async def renamed():
    async with Renamed() as it:
        hold("renamed", it)
        await truth.never()


async def enters():
    outer, slow = Plain(), SlowEntry()
    async with outer:
        hold("enters", outer)
        async with slow:
            pass


async def enters_again():
    lock = asyncio.Lock()
    async with lock:
        hold("enters_again", lock)
        async with lock:
            pass


async def leaves():
    slow = SlowExit()
    hold("leaves", slow)
    async with slow:
        pass


async def leaves_by_exception():
    slow = SlowExit()
    hold("leaves_by_exception", slow)
    async with slow:
        raise ValueError


async def left():
    lock = asyncio.Lock()
    async with lock:
        pass
    hold("left")
    await truth.never()


@contextlib.asynccontextmanager
async def managed(lock):
    async with lock:
        yield


@contextlib.contextmanager
def managed_plain(it):
    with it:
        yield


async def by_manager():
    lock, it = asyncio.Lock(), Plain()
    manager, plain = managed(lock), managed_plain(it)
    async with manager:
        with plain:
            hold("by_manager", manager, lock, plain, it)
            await truth.never()


async def enters_manager():
    lock = asyncio.Lock()
    async with lock:
        hold("enters_manager", lock)
        async with managed(lock):
            pass


async def by_stack():
    one, two, three = asyncio.Lock(), Plain(), asyncio.Lock()
    manager = managed(three)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0)
        await stack.enter_async_context(one)
        stack.enter_context(two)
        await stack.enter_async_context(manager)
        hold("by_stack", stack, one, two, manager, three)
        await truth.never()


async def by_generator():
    lock, it = asyncio.Lock(), Plain()

    async def generator():
        async with lock:
            while True:
                yield

    def plain():
        with it:
            yield

    async for _ in generator():
        for _ in plain():
            hold("by_generator", lock, it)
            await truth.never()


async def in_generator():
    lock = asyncio.Lock()

    async def generator():
        async with lock:
            hold("in_generator", lock)
            await truth.never()
            yield

    async for _ in generator():
        pass


async def between():
    """Its stack has more than blocks on it."""
    lock = asyncio.Lock()
    async with lock:
        hold("between", lock)
        print(lock.acquire, [1, await truth.never()])


SHAPES = [
    nested,
    two_frames,
    of_c,
    renamed,
    enters,
    enters_again,
    leaves,
    leaves_by_exception,
    left,
    by_manager,
    enters_manager,
    by_stack,
    by_generator,
    in_generator,
    between,
]


async def main():
    tasks = {shape.__name__: truth.create_task(shape(), shape.__name__) for shape in SHAPES}
    # Each goes as far as it ever will in its first turn.
    await asyncio.sleep(0)
    answer = {
        name: {"coroutine": truth.address(truth.coroutine_of(task)), "inside": inside[name]}
        for name, task in tasks.items()
    }
    truth.announce({"blocks": answer})
    await truth.never()


if __name__ == "__main__":
    truth.end_with_stdin()
    asyncio.new_event_loop().run_until_complete(main())
