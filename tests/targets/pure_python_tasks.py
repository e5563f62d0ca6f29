"""Tasks and futures of the pure-Python implementation beside ordinary ones."""
import asyncio

import truth


async def worker():
    await truth.never()


async def main():
    loop = asyncio.get_running_loop()
    compiled = truth.create_task(worker(), "compiled")
    loop.set_task_factory(lambda loop, coroutine, **options: asyncio.tasks._PyTask(coroutine, loop=loop, **options))
    pure = truth.create_task(worker(), "pure")
    loop.set_task_factory(None)
    await asyncio.gather(compiled, pure)


truth.run(main, edges=[("main", "worker")])
