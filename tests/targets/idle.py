"""One task that sleeps, whose name was never asked for."""
import asyncio

import truth


async def main():
    await asyncio.sleep(3600)


truth.run(main)
