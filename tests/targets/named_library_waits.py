"""As `named_waits.py`, of what libraries wait for: anyio on asyncio, or trio, as the argument says."""
import sys

import truth

# By the address of a task: what is known of its wait.
expected = {}


def identity(thing):
    return {"id": hex(id(thing)), "type": type(thing).__name__}


async def use(thing):
    async with thing:
        pass


def things(library, start, owner, kept):
    """Starts tasks that wait for each of a library's things, which the calling task `owner` has; `start(coroutine, **facts)` says what is to be told."""
    lock = library.Lock()
    lock.acquire_nowait()
    facts = {"kind": "lock", "waiters": 2, **identity(lock)}
    # anyio 3 has no more than a description of the task.
    if owner in (getattr(lock, "_owner_task", None), getattr(lock, "_owner", None)):
        facts.update(held=True, holders=[hex(id(owner))])
    for _ in range(2):
        start(use(lock), **facts)
    gate = library.Semaphore(1)
    gate.acquire_nowait()
    start(use(gate), kind="semaphore", free=0, waiters=1, **identity(gate))
    limiter = library.CapacityLimiter(1)
    limiter.acquire_nowait()
    start(use(limiter), kind="semaphore", size=1, limit=1, waiters=1, **identity(limiter))
    event = library.Event()
    start(event.wait(), kind="event", waiters=1, **identity(event))
    kept.extend([lock, gate, limiter, event])


def channels(sender, receiver, full_sender, full_receiver, start):
    start(receiver.receive(), kind="channel", operation="receive", size=0, waiters=1, detail={"open_senders": 1})
    start(full_sender.send(2), kind="channel", operation="send", size=1, limit=1, waiters=1, detail={"open_receivers": 1})


def on_asyncio():
    import asyncio

    import anyio

    kept = []

    def start(coroutine, **facts):
        task = asyncio.get_running_loop().create_task(coroutine)
        kept.append(task)
        expected[hex(id(task))] = facts

    async def main():
        things(anyio, start, asyncio.current_task(), kept)
        empty = anyio.create_memory_object_stream(0)
        full = anyio.create_memory_object_stream(1)
        full[0].send_nowait(1)
        kept.extend([empty, full])
        channels(*empty, *full, start)
        await anyio.sleep_forever()

    truth.run(main, ready=lambda: bool(expected), more=lambda: {"expected": expected})


def on_trio():
    import trio

    kept = []

    async def main():
        async with trio.open_nursery() as nursery:

            def start(coroutine, **facts):
                async def run():
                    expected[hex(id(trio.lowlevel.current_task()))] = facts
                    await coroutine

                nursery.start_soon(run)

            things(trio, start, trio.lowlevel.current_task(), kept)
            empty, full = trio.open_memory_channel(0), trio.open_memory_channel(1)
            full[0].send_nowait(1)
            kept.extend([empty, full])
            channels(*empty, *full, start)
            await trio.testing.wait_all_tasks_blocked()
            truth.announce({"expected": expected})
            await trio.sleep_forever()

    import trio.testing

    truth.end_with_stdin()
    trio.run(main)


{"anyio": on_asyncio, "trio": on_trio}[sys.argv[1]]()
