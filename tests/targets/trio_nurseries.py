"""Nurseries within each other: some whose opener waits at their end, some that are open while it is elsewhere, and one that is empty."""
# needs: trio
import trio
import trio_truth


async def track():
    await trio.sleep_forever()


async def album(tracks):
    async with trio.open_nursery() as nursery:
        for _ in range(tracks):
            nursery.start_soon(track)


async def conductor():
    async with trio.open_nursery() as strings:
        strings.start_soon(album, 2)
        async with trio.open_nursery() as winds:
            winds.start_soon(track)
            winds.start_soon(track)
            await trio.sleep_forever()


async def two_at_once():
    async with trio.open_nursery() as outer:
        outer.start_soon(track)
        async with trio.open_nursery() as inner:
            inner.start_soon(album, 1)


async def nobody():
    async with trio.open_nursery():
        await trio.sleep_forever()


async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(album, 3, name="first")
        nursery.start_soon(album, 0, name="none")
        nursery.start_soon(conductor)
        nursery.start_soon(two_at_once)
        nursery.start_soon(nobody)


trio_truth.run(main)
