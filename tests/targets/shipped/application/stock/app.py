"""A shop whose tasks wait for each other in its own code, and in that of a package. It says when they all do."""
import asyncio
import json
import os
import sys
import threading

import limits


class Stock:
    def __init__(self):
        self.lock = asyncio.Lock()

    async def reserve(self):
        await self.lock.acquire()


async def order(stock):
    await stock.reserve()


async def main():
    loop = asyncio.get_running_loop()
    threading.Thread(target=end_with_stdin, daemon=True).start()
    stock = Stock()
    await stock.lock.acquire()
    orders = [loop.create_task(order(stock)) for _ in range(3)]
    upkeep = loop.create_task(limits.Limit().acquire())
    # Each task has its first turn before this one has its next.
    await asyncio.sleep(0)
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.gather(upkeep, *orders)


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


asyncio.run(main())
