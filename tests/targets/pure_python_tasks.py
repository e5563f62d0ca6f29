"""Tasks and futures of the pure-Python implementation beside ordinary ones."""
import asyncio

import truth


async def worker():
    await truth.never()


async def main():
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(), name="compiled")
        loop.set_task_factory(lambda loop, coroutine, **options: asyncio.tasks._PyTask(coroutine, loop=loop, **options))
        group.create_task(worker(), name="pure")
        loop.set_task_factory(None)


truth.run(main, edges=[("main", "worker")])
