"""Names of tasks: long, not text, of a subclass of text, empty, with control and escape characters, in every width that CPython stores."""
# needs: 3.8
import asyncio

import truth



class Text(str):
    """Text of a class of its own, with another opinion of what it says."""

    def __str__(self):
        return "what it says"


NAMES = [
    Text("what it is"),
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \ud55c\uad6d\uc5b4",
    "\U0001f469\u200d\U0001f680 joined, e\u0301 combined, \ufeff marked, \uffff no character",
    "half a pair \ud83c",
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
