"""A thousand tasks in a loop that never rests, whose possible chains are known.

Each task belongs to one of four families of coroutines, and its name says to which. It announces the grammar of its chains:
see `busy_families`. On the line `sample` it prints its chains of that moment.
"""

import asyncio

import busy_families
import truth

TASKS = 1000


async def main():
    # Before 3.10, locks belong to the loop that they are made in.
    busy_families.locks.extend(asyncio.Lock() for _ in range(20))
    tasks = []
    for number in range(TASKS):
        name, root = busy_families.family_of(number)
        tasks.append(truth.create_task(root(number), name))
    asyncio.get_running_loop().call_later(0.5, announce_grammar)
    every = asyncio.gather(*tasks)
    await every


def announce_grammar():
    every = [main] + busy_families.own_functions() + library()
    functions = busy_families.by_name((truth.function_name(it.__code__), rules(it)) for it in every)
    truth.announce({"tasks": TASKS + 1, "others": {"main": "Task-1"}, "functions": functions})


# Futures that are written in Python are awaited by a frame of their own.
PURE = asyncio.Future is asyncio.futures._PyFuture
AWAIT = asyncio.futures._PyFuture.__await__


def rules(function):
    """What may follow at each line of a function."""
    found = busy_families.rules(function)
    if function is AWAIT:
        lines = range(found["first_line"], found["last_line"] + 1)
        found["awaits"] = {str(line): [None] for line in lines}
    elif PURE and function is not asyncio.tasks.__sleep0:
        for line, names in found["awaits"].items():
            found["awaits"][line] = [AWAIT.__name__ if it is None else it for it in names]
    return found


def library():
    """The functions of the standard library that the own ones lead into."""
    functions = [asyncio.sleep, asyncio.tasks.__sleep0, asyncio.Lock.__aenter__, asyncio.Lock.acquire]
    return functions + [AWAIT] * PURE


def sample():
    now = truth.snapshot(truth.Edges())
    for task in now["tasks"]:
        busy_families.cut_to_compute(task)
    truth.announce(now)


busy_families.sleep = asyncio.sleep
busy_families.sample = sample
truth.run_loop(main, answer=lambda line: busy_families.asked.set())
