"""Tasks that live for some milliseconds and wait for locks, semaphores, queues and timers; their names say for which."""
# needs: 3.8
import asyncio
import random

import truth

THINGS = 6
VISITORS = 80
LIMIT = 3

locks, gates, sources, sinks = [], [], [], []


def pause(number):
    """How long what has this number is held, in seconds."""
    return (2 + number) / 1000


async def hold(number):
    await asyncio.sleep(pause(number))


async def lock(number):
    async with locks[number]:
        await hold(number)


async def gate(number):
    async with gates[number]:
        await hold(number)


async def source(number):
    await sources[number].get()


async def sink(number):
    await sinks[number].put(number)


def work():
    """Keeps the loop at work for a while."""
    return sum(range(random.randrange(2000, 20000)))


async def visitor(own):
    count = 0
    while True:
        count += 1
        kind, number = random.choice([lock, gate, source, sink]), random.randrange(THINGS)
        name = f"{kind.__name__} {number} {own}.{count}"
        task = asyncio.create_task(kind(number), name=name)
        work()
        await asyncio.wait([task])


async def traffic():
    """Lets those go on that wait for what nobody else brings or takes."""
    while True:
        for number in range(THINGS):
            while sources[number]._getters and sources[number].empty():
                sources[number].put_nowait(number)
                await asyncio.sleep(0)
            while sinks[number].full():
                sinks[number].get_nowait()
        await asyncio.sleep(0.004)


async def main():
    for _ in range(THINGS):
        locks.append(asyncio.Lock())
        gates.append(asyncio.BoundedSemaphore(LIMIT))
        sources.append(asyncio.Queue())
        sinks.append(asyncio.Queue(maxsize=LIMIT))
    things = {"lock": locks, "gate": gates, "source": sources, "sink": sinks}
    visitors = [asyncio.create_task(visitor(number), name=f"visitor {number}") for number in range(VISITORS)]
    feeder = asyncio.create_task(traffic(), name="traffic")
    await asyncio.sleep(0.2)
    truth.announce(
        {
            "things": {kind: [hex(id(thing)) for thing in all] for kind, all in things.items()},
            "pauses": [pause(number) for number in range(THINGS)],
            "limit": LIMIT,
            "tasks": len(visitors) + len([feeder]),
        }
    )
    await truth.never()


truth.run_loop(main)
