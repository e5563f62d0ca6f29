"""A thousand tasks in a loop that never rests, whose possible chains are known.

Each task belongs to one of four families of coroutines, and its name says to which. It announces the grammar of its chains,
read from the syntax trees of its own functions and of the standard library's that they await: for each function, and each
line in it that awaits or calls, what may follow there. On the line `sample` it prints its chains of that moment.
"""

import ast
import asyncio
import inspect
import random
import textwrap
import threading

import truth

TASKS = 1000
FAMILIES = "ABCD"

locks = []
asked = threading.Event()


def compute(steps):
    if asked.is_set():
        sample()
    return sum(range(steps))


async def a_root(number):
    while True:
        if random.random() < 0.5:
            await a_left(number)
        else:
            await a_right(number)


async def a_left(number):
    compute(20)
    await a_left_deeper(number)
    await asyncio.sleep(0)


async def a_left_deeper(number):
    await asyncio.sleep(0)
    await a_left_deepest(number)


async def a_left_deepest(number):
    await asyncio.sleep(0)
    compute(10)
    await asyncio.sleep(random.random() / 100)


async def a_right(number):
    await a_right_deeper(number)


async def a_right_deeper(number):
    compute(50)
    await asyncio.sleep(0)


async def b_root(number):
    while True:
        await b_locks(number)
        await b_sleeps(number)


async def b_locks(number):
    async with locks[number % len(locks)]:
        await b_holds(number)


async def b_holds(number):
    compute(20)
    await asyncio.sleep(0)
    await b_holds_deeper(number)


async def b_holds_deeper(number):
    await asyncio.sleep(0)


async def b_sleeps(number):
    await b_sleeps_deeper(number)
    await asyncio.sleep(0)


async def b_sleeps_deeper(number):
    await asyncio.sleep(random.random() / 50)


async def c_root(number):
    while True:
        async for step in c_steps(number):
            await c_handles(step)


async def c_steps(number):
    for step in range(5):
        await c_prepares(step)
        yield step


async def c_prepares(step):
    await asyncio.sleep(0)
    compute(20)


async def c_handles(step):
    await c_handles_deeper(step)


async def c_handles_deeper(step):
    await asyncio.sleep(0)
    await asyncio.sleep(random.random() / 100)


async def d_root(number):
    while True:
        await d_descends(random.randrange(1, 8))


async def d_descends(depth):
    if depth > 1:
        await d_descends(depth - 1)
        await asyncio.sleep(0)
    else:
        await d_bottom()


async def d_bottom():
    await asyncio.sleep(0)
    compute(30)


async def main():
    # Before 3.10, locks belong to the loop that they are made in.
    locks.extend(asyncio.Lock() for _ in range(20))
    tasks = []
    for number in range(TASKS):
        family = FAMILIES[number % len(FAMILIES)]
        root = globals()[f"{family.lower()}_root"]
        tasks.append(truth.create_task(root(number), f"{family} {number}"))
    asyncio.get_running_loop().call_later(0.5, announce_grammar)
    every = asyncio.gather(*tasks)
    await every


def announce_grammar():
    own = [it for it in globals().values() if inspect.isfunction(it) and it.__module__ == __name__]
    functions = {truth.function_name(function.__code__): rules(function) for function in own + library()}
    truth.announce({"tasks": TASKS + 1, "own_file": __file__, "functions": functions})


def library():
    """The functions of the standard library that the own ones lead into."""
    return [asyncio.sleep, asyncio.tasks.__sleep0, asyncio.Lock.__aenter__, asyncio.Lock.acquire]


def rules(function):
    """The lines of a function, and what may follow at each."""
    source, first = inspect.getsourcelines(function)
    (definition,) = ast.parse(textwrap.dedent("".join(source))).body
    awaits, calls = {}, {}
    for node in ast.walk(definition):
        line = first + getattr(node, "lineno", 1) - 1
        if isinstance(node, ast.Await):
            awaits.setdefault(line, set()).add(called_name(node.value))
        elif isinstance(node, ast.Yield) and node.value is None:
            awaits.setdefault(line, set()).add(None)
        elif isinstance(node, ast.AsyncFor):
            awaits.setdefault(line, set()).add(called_name(node.iter))
        elif isinstance(node, ast.AsyncWith):
            awaits.setdefault(line, set()).update(("__aenter__", "__aexit__"))
            # Before 3.10, the exit has the line that was executed last.
            awaits.setdefault(first + node.body[-1].lineno - 1, set()).add("__aexit__")
        elif isinstance(node, ast.Call):
            calls.setdefault(line, set()).add(called_name(node))
    code = function.__code__
    return {
        "file": code.co_filename,
        "first_line": first,
        "last_line": first + len(source) - 1,
        "awaits": {str(line): sorted(names, key=str) for line, names in awaits.items()},
        "calls": {str(line): sorted(names) for line, names in calls.items()},
    }


def called_name(node):
    """What a call names: `sleep` of `asyncio.sleep(1)`; None where there is no call."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def sample():
    """Prints every chain of this moment, in which the task that computes runs."""
    asked.clear()
    now = truth.snapshot(truth.Edges())
    for task in now["tasks"]:
        functions = [frame["function"] for frame in task["stack"]]
        if task["state"] == "running":
            # The frames further in are those of this question.
            del task["stack"][: functions.index("compute")]
    truth.announce(now)


truth.run_loop(main, answer=lambda line: asked.set())
