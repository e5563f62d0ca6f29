"""A thousand children of one nursery, and a chain of five hundred nurseries within each other."""
# needs: trio
import trio
import trio_truth

CHILDREN, LEVELS = 1000, 500


async def child(event):
    await event.wait()


async def level(number):
    async with trio.open_nursery() as nursery:
        if number > 1:
            nursery.start_soon(level, number - 1)
        else:
            nursery.start_soon(trio.sleep_forever)


async def main():
    event = trio.Event()
    async with trio.open_nursery() as nursery:
        for number in range(CHILDREN):
            nursery.start_soon(child, event, name="child {}".format(number))
        nursery.start_soon(level, LEVELS)


trio_truth.run(main)
