"""Two tasks that sleep again and again: `steady` for a tenth of a second, and `slowing` for as long as the argument says."""

import asyncio
import sys

import truth


async def steady():
    while True:
        await asyncio.sleep(0.1)


async def slowing():
    while True:
        await asyncio.sleep(float(sys.argv[1]))


async def main():
    truth.end_with_stdin()
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(steady()), loop.create_task(slowing())]
    await asyncio.sleep(0)
    truth.announce({})
    await asyncio.gather(*tasks)


asyncio.run(main())
