"""Names of tasks: long, not text, empty, with control and escape characters, in every width that CPython stores."""
# needs: 3.8
import asyncio

import truth

NAMES = [
    "plain",
    "x" * 300,
    "",
    42,
    None,
    ("a", "tuple"),
    "two\nlines\tand\ra return",
    "\x1b[31mred\x1b[0m \x07 \x1b]0;title\x07",
    "nul\0inside",
    "\u009b31m one byte wide caf\u00e9",
    "\u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u202eright to left",
    "four bytes wide \U0001f3b5",
    "\"quoted\" and \\ <&>",
]


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(*[asyncio.create_task(worker(), name=name) for name in NAMES])


truth.run(main, edges=[("main", "worker")])
