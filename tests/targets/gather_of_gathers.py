"""A gather whose children are gathers themselves: no task lies between."""
import asyncio

import truth


async def leaf():
    await asyncio.sleep(3600)


async def main():
    await asyncio.gather(asyncio.gather(leaf(), leaf()), asyncio.gather(leaf()))


truth.run(main, edges=[("main", "leaf")])
