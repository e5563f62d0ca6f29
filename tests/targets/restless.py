"""A loop that never rests, and more tasks in it than can be read in a moment."""
import asyncio

import truth


async def idle():
    await truth.never()


async def main():
    tasks = [asyncio.create_task(idle()) for _ in range(30_000)]
    await asyncio.sleep(0)
    truth.end_with_stdin()
    truth.announce({})
    while tasks:
        await asyncio.sleep(0)


asyncio.run(main())
