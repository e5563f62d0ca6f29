"""Four families of coroutines that never rest, and the grammar of the chains that they can be in.

The grammar is read from the syntax trees of functions: for each function, and each line in it that awaits or calls, what may
follow there. Who runs the families says how they sleep, which locks they take, and how a sample is reported.
"""

import ast
import inspect
import random
import textwrap
import threading

FAMILIES = "ABCD"

# `asyncio.sleep` or `trio.sleep`.
sleep = None
# Twenty locks of that library.
locks = []
# Reports every chain of this moment, in which the task that computes runs.
sample = None
asked = threading.Event()


def compute(steps):
    if asked.is_set():
        asked.clear()
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
    await sleep(0)


async def a_left_deeper(number):
    await sleep(0)
    await a_left_deepest(number)


async def a_left_deepest(number):
    await sleep(0)
    compute(10)
    await sleep(random.random() / 100)


async def a_right(number):
    await a_right_deeper(number)


async def a_right_deeper(number):
    compute(50)
    await sleep(0)


async def b_root(number):
    while True:
        await b_locks(number)
        await b_sleeps(number)


async def b_locks(number):
    async with locks[number % len(locks)]:
        await b_holds(number)


async def b_holds(number):
    compute(20)
    await sleep(0)
    await b_holds_deeper(number)


async def b_holds_deeper(number):
    await sleep(0)


async def b_sleeps(number):
    await b_sleeps_deeper(number)
    await sleep(0)


async def b_sleeps_deeper(number):
    await sleep(random.random() / 50)


async def c_root(number):
    while True:
        async for step in c_steps(number):
            await c_handles(step)


async def c_steps(number):
    for step in range(5):
        await c_prepares(step)
        yield step


async def c_prepares(step):
    await sleep(0)
    compute(20)


async def c_handles(step):
    await c_handles_deeper(step)


async def c_handles_deeper(step):
    await sleep(0)
    await sleep(random.random() / 100)


async def d_root(number):
    while True:
        await d_descends(random.randrange(1, 8))


async def d_descends(depth):
    if depth > 1:
        await d_descends(depth - 1)
        await sleep(0)
    else:
        await d_bottom()


async def d_bottom():
    await sleep(0)
    compute(30)


def family_of(number):
    """The name and the outermost coroutine function of the task with this number."""
    family = FAMILIES[number % len(FAMILIES)]
    return "{} {}".format(family, number), globals()["{}_root".format(family.lower())]


def own_functions():
    return [it for it in globals().values() if inspect.isfunction(it) and it.__module__ == __name__]


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
            for item in node.items:
                at = first + item.context_expr.lineno - 1
                awaits.setdefault(at, set()).update(("__aenter__", "__aexit__"))
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


def by_name(rules):
    """Rules by the name of their function. Before 3.11 several have the same: only their files tell them apart."""
    found = {}
    for name, of_function in rules:
        found.setdefault(name, []).append(of_function)
    return found


def called_name(node):
    """What a call names: `sleep` of `asyncio.sleep(1)`; None where there is no call."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def cut_to_compute(task):
    """Leaves away what a running task does to answer: the frames further in than the function that was asked."""
    functions = [frame["function"] for frame in task["stack"]]
    if task["state"] == "running":
        del task["stack"][: functions.index("compute")]
