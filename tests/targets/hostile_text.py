"""Functions and files whose names would command a terminal, if they were sent to it as they are."""

# needs: 3.8
import asyncio

import truth

FUNCTION = "evil\x1b]0;title\x07\x9b2J\r\u202e"
FILE = "/tmp/\x1b[31mred\nline\ttab\x00.py"


async def named():
    await truth.never()


async def main():
    names = {"co_name": FUNCTION, "co_filename": FILE}
    if truth.HAS_QUALIFIED_NAMES:
        names["co_qualname"] = FUNCTION
    named.__code__ = named.__code__.replace(**names)
    await truth.create_task(named(), "\x1b[2J\x07\x9b1m\r\u2028\u202e")


truth.run(main, edges=[("main", FUNCTION)])
