"""Gathers whose children gather in turn."""
import asyncio

import truth

edges = []


async def node(name, levels):
    truth.name_task(asyncio.current_task(), name)
    if not levels:
        await asyncio.sleep(3600)
    children = [f"{name}.{number}" for number in range(2)]
    edges.extend((name, child) for child in children)
    await asyncio.gather(*[node(child, levels - 1) for child in children])


async def main():
    await node("root", 3)


truth.run(main, edges=edges)
