"""Subclasses of Task and Future that were written in C, with fields of their own behind the base's, as the loop's factory; and a subclass of theirs in Python."""
import asyncio
import sys

import derived
import truth


class Further(derived.CountedTask):
    """Python's own on top: it has a dict besides."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.more = ["anything"]


async def waits_for_future():
    await derived.CountedFuture(loop=asyncio.get_running_loop())


async def worker():
    await asyncio.sleep(3600)


async def waits_for(task):
    await task


def factory(loop, coroutine, **options):
    return derived.CountedTask(coroutine, loop=loop, **options)


async def main():
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    further = truth.name_task(Further(worker(), loop=loop), "further")
    tasks = [truth.create_task(worker(), "made by the factory"), further, truth.create_task(waits_for(further), "waits")]
    tasks.append(truth.create_task(waits_for_future(), "waits for a future"))
    if sys.version_info >= (3, 12):
        tasks.append(derived.CountedTask(worker(), loop=loop, name="eager", eager_start=True))
    assert all(isinstance(task, derived.CountedTask) for task in tasks)
    kept.extend(tasks)
    await asyncio.gather(*tasks)


def ready():
    return all(task.is_intact() for task in kept)


kept = []
NAMES = ("made by the factory", "further", "waits", "waits for a future", "eager")
truth.run(main, edges=[*(("main", name) for name in NAMES), ("waits", "further")], ready=ready)
