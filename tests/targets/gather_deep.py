"""Gathers whose children gather in turn."""
import asyncio

import truth


async def leaf():
    await asyncio.sleep(3600)


async def branch():
    await asyncio.gather(leaf(), leaf())


async def trunk():
    await asyncio.gather(branch(), branch())


async def main():
    await asyncio.gather(trunk(), trunk())


truth.run(main, edges=[("main", "trunk"), ("trunk", "branch"), ("branch", "leaf")])
