"""A program that has imported trio, and run it, but does not run it now."""
# needs: trio
import threading

import trio
import trio_truth


async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)


trio_truth.end_with_stdin()
trio.run(main)
trio_truth.announce({"tasks": []})
threading.Event().wait()
