"""An idle program: as many tasks as asked for, each asleep below nine coroutines.

usage: idle.py TASKS

Writes one line of JSON to standard output when all tasks sleep, and ends when standard input is closed.
"""

import asyncio
import json
import os
import sys


async def serve(asleep):
    await session(asleep)


async def session(asleep):
    await request(asleep)


async def request(asleep):
    await authorize(asleep)


async def authorize(asleep):
    await load(asleep)


async def load(asleep):
    await query(asleep)


async def query(asleep):
    await execute(asleep)


async def execute(asleep):
    await receive(asleep)


async def receive(asleep):
    asleep()
    await asyncio.sleep(86_400)


async def main(count):
    loop = asyncio.get_running_loop()
    remaining = count
    everyone_sleeps = asyncio.Event()

    def asleep():
        nonlocal remaining
        remaining -= 1
        if remaining == 0:
            everyone_sleeps.set()

    tasks = [loop.create_task(serve(asleep)) for _ in range(count)]
    await everyone_sleeps.wait()

    closed = loop.create_future()
    loop.add_reader(sys.stdin, closed.set_result, None)
    print(json.dumps({"ready": True, "tasks": len(tasks) + 1}), flush=True)
    await closed
    # The tasks are left as they are: to cancel 100,000 of them is of no use to anybody.
    os._exit(0)


asyncio.new_event_loop().run_until_complete(main(int(sys.argv[1])))
