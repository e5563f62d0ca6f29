"""Tasks that live for some milliseconds, with names that say whose they are, among other objects of the same sizes.

A visitor stays, and sends one errand after the other; an errand takes two steps at once. Whoever is awaited has the number of who awaits it
before its own. With an argument, errands wait by `asyncio.wait` instead of a `gather`, or, where there is one, a `TaskGroup`.
"""
# needs: 3.8
import asyncio
import sys

import truth

VISITORS = 100
ROOTS = {"visitor": ["Task", "Future"], "errand": ["Future", "_GatheringFuture"], "step": ["Future"], "main": ["Future"]}
MANNER = sys.argv[1] if len(sys.argv) > 1 else "gather"
litter = {}


class Parcel:
    """As large as a future is."""

    def __init__(self, number):
        self.number, self.inside, self.wrapped = number, {"number": number}, bytearray(number % 200)


async def step(number):
    parcel = Parcel(len(number))
    await asyncio.sleep(0.002 + len(number) % 5 / 1000)
    return parcel


async def errand(number):
    names = [f"{number}.{part}" for part in range(2)]
    if MANNER == "group":
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(step(name), name=f"step {name}")
    else:
        steps = [asyncio.create_task(step(name), name=f"step {name}") for name in names]
        await (asyncio.wait(steps) if MANNER == "wait" else asyncio.gather(*steps))
    await asyncio.sleep(0)


async def visitor(number):
    count = 0
    while True:
        count += 1
        await asyncio.create_task(errand(f"{number}.{count}"), name=f"errand {number}.{count}")
        litter[count % 50] = [Parcel(count), bytes(count % 300), float(count), f"errand {count}"]
        await asyncio.sleep(0.02 + number % 7 / 100)


async def main():
    asyncio.current_task().set_name("main 0")
    tasks = [asyncio.create_task(visitor(number), name=f"visitor {number}") for number in range(VISITORS)]
    await asyncio.sleep(0.2)
    truth.announce({"roots": ROOTS, "visitors": len(tasks)})
    await truth.never()


truth.run_loop(main)
