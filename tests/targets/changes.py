"""A process that ends, or becomes another program, when it is told to: on the lines `end` and `exec`."""

import asyncio
import os

import truth


def obey(line):
    if line == "exec":
        os.execv("/bin/sleep", ["sleep", "3600"])
    os._exit(0)


async def worker():
    while True:
        await asyncio.sleep(0.01)


async def main():
    truth.end_with_stdin(obey)
    tasks = [asyncio.create_task(worker()) for _ in range(3)]
    truth.announce({})
    await asyncio.gather(*tasks)


asyncio.run(main())
