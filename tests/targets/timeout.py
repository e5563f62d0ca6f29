"""timeout() and timeout_at() around awaits."""
# needs: 3.11
import asyncio

import truth


async def by_delay():
    async with asyncio.timeout(3600):
        await asyncio.sleep(7200)


async def by_deadline():
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + 3600):
        await truth.never()


async def nested():
    async with asyncio.timeout(3600):
        async with asyncio.timeout(None):
            await asyncio.sleep(7200)


async def main():
    await asyncio.gather(by_delay(), by_deadline(), nested())


truth.run(main, edges=[("main", "by_delay"), ("main", "by_deadline"), ("main", "nested")])
