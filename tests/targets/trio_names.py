"""Names of trio tasks: the function's own, given ones, and some that are hard to show."""
# needs: trio
import functools

import trio
import trio_truth

NAMES = ["plain", "", "naïve ✓ 任务", "line\nbreak \x1b[31m", "x" * 300]


class Player:
    async def play(self):
        await trio.sleep_forever()

    async def __call__(self):
        await trio.sleep_forever()


async def waits(_argument=None):
    await trio.sleep_forever()


async def main():
    async def inner():
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for name in NAMES:
            nursery.start_soon(waits, name=name)
        nursery.start_soon(waits, name=1234)
        nursery.start_soon(waits, name=Player.play)
        nursery.start_soon(functools.partial(waits, 1))
        nursery.start_soon(Player().play)
        nursery.start_soon(Player())
        nursery.start_soon(inner)


trio_truth.run(main)
