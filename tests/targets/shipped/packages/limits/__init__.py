"""A package that an application uses."""
import asyncio


class Limit:
    def __init__(self):
        self.event = asyncio.Event()

    async def acquire(self):
        await self.event.wait()
