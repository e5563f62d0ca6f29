"""Tasks that wait for long at a time, and for short times one after the other, which comes to the same; and one that waits for what never comes.

On the line `report` the program prints how long each wait took that is over.
"""

import asyncio
import time

import truth

SHORT, LONG, ROUNDS = 0.25, 1.5, 6
taken = {"one_long": [], "six_short": [], "back_soon": []}


def took(name, since):
    taken[name].append([since, time.monotonic()])


async def one_long():
    while True:
        since = time.monotonic()
        await asyncio.sleep(LONG)
        took("one_long", since)


async def six_short():
    while True:
        for _ in range(ROUNDS):
            since = time.monotonic()
            await asyncio.sleep(SHORT)
            took("six_short", since)


async def pause():
    await asyncio.sleep(0.008)


async def back_soon():
    """Waits again at the same line, with a pause in between that is as long as the time between two looks."""
    while True:
        since = time.monotonic()
        await asyncio.sleep(0.05)
        took("back_soon", since)
        await pause()


async def never():
    await asyncio.get_running_loop().create_future()


def report():
    truth.announce({"now": time.monotonic(), "taken": taken})


async def main():
    loop = asyncio.get_running_loop()
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(report))
    tasks = [loop.create_task(it()) for it in (one_long, six_short, back_soon, never)]
    await asyncio.sleep(0)
    report()
    await asyncio.gather(*tasks)


asyncio.run(main())
