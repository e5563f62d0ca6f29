"""A process that ends, or becomes another program, when it is told to: on the lines `end` and `exec`.

On `hop` it becomes itself again, by way of a program that does nothing else.
"""

import asyncio
import os
import sys

import truth


def obey(line):
    if line == "exec":
        os.execv("/bin/sleep", ["sleep", "3600"])
    if line == "hop":
        os.execv("/bin/sh", ["sh", "-c", 'exec "$0" "$1"', sys.executable, __file__])
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
