"""An aiohttp server and its clients, aiohttp's own and httpx, in one process: every request is parked in its handler."""
import asyncio

import aiohttp
import httpx
import truth
from aiohttp import web

parked = []


async def query():
    await truth.never()


async def waits(request):
    parked.append(request)
    await query()


async def gathers(request):
    parked.append(request)
    await asyncio.gather(query(), query())


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as response:
            await response.text()


async def by_httpx(url):
    async with httpx.AsyncClient(timeout=None, trust_env=False) as client:
        await client.get(url)


async def main():
    app = web.Application()
    app.add_routes([web.get("/waits", waits), web.get("/gathers", gathers)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0][:2]
    address = f"http://127.0.0.1:{port}"
    clients = [by_aiohttp(address + "/waits"), by_aiohttp(address + "/gathers"), by_httpx(address + "/waits")]
    await asyncio.gather(*clients)


truth.run(main, ready=lambda: len(parked) == 3, observe=True)
