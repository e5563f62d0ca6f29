"""Functions and files whose names would command a terminal, if they were sent to it as they are."""

import asyncio

import truth

FUNCTION = "evil\x1b]0;title\x07\x9b2J\r\u202e"
FILE = "/tmp/\x1b[31mred\nline\ttab\x00.py"


async def named():
    await truth.never()


async def main():
    named.__code__ = named.__code__.replace(co_name=FUNCTION, co_qualname=FUNCTION, co_filename=FILE)
    async with asyncio.TaskGroup() as group:
        group.create_task(named(), name="\x1b[2J\x07\x9b1m\r\u2028\u202e")


truth.run(main, edges=[("main", FUNCTION)])
