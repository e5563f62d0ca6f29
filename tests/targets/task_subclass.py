"""A subclass of Task, with attributes of its own, as the loop's factory."""
import asyncio

import truth


class Traced(asyncio.Task):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.more = ["anything"]


class Slotted(asyncio.Task):
    __slots__ = ("first", "second")


async def worker():
    await asyncio.sleep(3600)


async def waits_for_subclass():
    await truth.name_task(Slotted(worker()), "slotted")


async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(lambda loop, coroutine, **options: Traced(coroutine, loop=loop, **options))
    await asyncio.gather(truth.name_task(Traced(worker()), "traced"), waits_for_subclass())


EDGES = [("waits_for_subclass", "slotted"), ("main", "waits_for_subclass"), ("main", "traced")]
truth.run(main, edges=EDGES)
