"""Coroutines that Cython compiled: outermost, innermost, and between Python's own."""
import asyncio

import compiled
import truth


async def leaf():
    await truth.never()


async def through():
    """Python awaits Cython awaits Python."""
    await compiled.outer(leaf())


async def method():
    await compiled.Service().handle(leaf())


async def main():
    tasks = [
        truth.create_task(compiled.outer(leaf()), "outermost"),
        truth.create_task(compiled.inner(truth.never()), "alone"),
        truth.create_task(through(), "through"),
        truth.create_task(method(), "method"),
    ]
    tasks.append(truth.create_task(compiled.inner(tasks[0]), "waits for a task"))
    await asyncio.gather(*tasks)


NAMES = ("outermost", "alone", "through", "method", "waits for a task")
truth.run(main, edges=[*(("main", name) for name in NAMES), ("waits for a task", "outermost")])
