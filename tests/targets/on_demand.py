"""Does what it is told on its standard input, and says when it has begun: `wait` (a task waits in `Pool.acquire` for what never comes), `free` (all of these
go on), `block SECONDS` (a task keeps the loop from turning), `grow TASKS` (so many more tasks wait), `later SECONDS` (says when these are over), `rounds`.

All the time one task sleeps for a tenth of a second again and again, and says on `rounds` how long each of these took. Moments are those of the machine's
clock, as recordings have them.
"""

import asyncio
import time

import truth

loop = asyncio.new_event_loop()
waiting, grown, rounds = [], [], []


class Pool:
    async def acquire(self):
        future = loop.create_future()
        waiting.append(future)
        truth.announce({"began": time.time()})
        await future


async def handler(pool):
    await pool.acquire()


async def member(future):
    await future


async def hog(seconds):
    truth.announce({"began": time.time()})
    time.sleep(seconds)


async def beat():
    while True:
        since = time.time()
        await asyncio.sleep(0.1)
        rounds.append([since, time.time()])


def obey(line):
    word, _, argument = line.strip().partition(" ")
    if word == "wait":
        loop.create_task(handler(Pool()))
    elif word == "block":
        loop.create_task(hog(float(argument)))
    elif word == "grow":
        future = loop.create_future()
        grown.append((future, [loop.create_task(member(future)) for _ in range(int(argument))]))
        truth.announce({"began": time.time()})
    elif word == "later":
        loop.call_later(float(argument), lambda: truth.announce({"now": time.time()}))
    elif word == "free":
        for future in waiting:
            if not future.done():
                future.set_result(None)
        truth.announce({"began": time.time()})
    else:
        truth.announce({"now": time.time(), "rounds": rounds})


truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(obey, line))
beating = loop.create_task(beat())
loop.call_soon(truth.announce, {"now": time.time()})
loop.run_forever()
