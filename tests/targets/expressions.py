"""Waits in many shapes, and says what its own source has at each: the truth for what is read from its instructions.

Each function `shape_NAME` waits on the line that is marked `here`. It runs often before, so that its instructions are specialised. What
stands there is told from the syntax tree by the rules that awaitwhat has: names as they are, small numbers, and `…` for anything else.
`unknown` in the mark: nothing can be said, as it depends on what has happened before.

The first argument says what watches the functions: nothing, `profile` or `trace`. With `code` it says instead what all the code has that it finds,
of the standard library and of packages, at each place where that waits; this code never runs.
"""

import ast
import asyncio
import dis
import inspect
import os
import sys
import types

import truth

# Runs of each shape before it waits: more than any version needs to specialise.
RUNS = 100
# Items of a call that are told, how long a text may be, and from where on a number is large.
MAX_ITEMS = 6
MAX_TEXT = 80
LARGE = 1000000
LEFT_OUT = "…"
# Places in code that are told, at most.
PLACES = 1500

parks = False
limit = 3
FAR = 300


async def pause():
    if parks:
        await asyncio.get_event_loop().create_future()


async def run(*things, **named):
    await pause()
    return things


class Thing:
    """Whatever is awaited, entered, or gone through."""

    def __init__(self, levels=3):
        self.pairs = [(1, 2), (3, 4)]
        self.things = [1, 2]
        self.flag = True
        self.one = self.two = 1
        if levels:
            self.inner = Thing(levels - 1)
            self.other = Thing(levels - 1)
            self.by_key = {key: self.inner for key in ("a", 1, (1, self.one), None)}
            self.by_index = [self.inner, self.other]

    async def acquire(self, *things, **named):
        await pause()
        return self

    def get(self, *things, **named):
        return self

    def __await__(self):
        yield from pause().__await__()
        return self

    async def __aenter__(self):
        await pause()
        return self

    async def __aexit__(self, *error):
        return False

    def __aiter__(self):
        self.left = 2
        return self

    async def __anext__(self):
        await pause()
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


class SlowToLeave(Thing):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        await pause()


class Once(Thing):
    """Only its second item is waited for."""

    async def __anext__(self):
        if self.left < 2:
            await pause()
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


class Derived(Thing):
    async def shape_super(self):
        await super().acquire(self.one)  # here


async def shape_name(it):
    thing = it.inner
    await thing  # here


async def shape_attribute(it):
    await it.inner.other  # here


async def shape_call(it):
    await run(1, it, limit)  # here


async def shape_method(it):
    await it.inner.acquire()  # here


async def shape_module(it):
    await asyncio.wait_for(it.inner.acquire(), None)  # here


async def shape_constants(it):
    await it.acquire(0, -1, 2.5, None, True, False)  # here


async def shape_texts(it):
    await it.acquire("secret", b"secret", 10 ** 12, ..., key="secret", other=2)  # here


async def shape_large(it):
    await it.acquire(1000000, 999999, 1e-7, 1e9)  # here


async def shape_keywords(it):
    await it.inner.acquire(it, limit=limit, timeout=0.5)  # here


async def shape_function_keywords(it):
    await run(it, limit=it.two)  # here


async def shape_many(it):
    await run(1, 2, 3, 4, 5, 6, 7, 8)  # here


async def shape_with(it):
    async with it.inner:  # here
        pass


async def shape_with_key(it):
    key = 1
    async with it.by_key[key]:  # here
        pass


async def shape_with_text_key(it):
    async with it.by_key["a"]:  # here
        pass


async def shape_with_pair_key(it):
    async with it.by_key[1, it.one]:  # here
        pass


async def shape_with_none_key(it):
    async with it.by_key[None]:  # here
        pass


async def shape_index(it):
    await it.by_index[0].acquire()  # here


async def shape_last(it):
    await it.by_index[-1].acquire(it.one)  # here


async def shape_with_as(it):
    async with it.get(limit) as got:  # here
        return got


async def shape_second_with(it):
    async with SlowToLeave(0) as one, it.other as two:  # here it.other
        return one, two


async def shape_with_end(it):
    async with it.slow:  # here end
        it.one = 1


async def shape_inside_with(it):
    async with SlowToLeave(0):
        with open("/dev/null"):
            await it.inner.acquire()  # here


async def shape_for(it):
    async for _ in it.inner.get(it.one):  # here
        pass


async def shape_for_again(it):
    async for _ in it.once:  # here
        it.two = 2


async def shape_after_for(it):
    async for _ in SlowIterator():
        pass
    await it.inner.acquire(await run_now(), it.one)  # here


async def shape_in_loop(it):
    for thing in it.things:
        while it.flag:
            await it.inner.acquire(thing)  # here
            break


async def shape_handler(it):
    try:
        raise KeyError
    except KeyError as error:
        await it.inner.acquire(error)  # here


async def shape_finally(it):
    try:
        it.one = 1
    finally:
        await it.other.acquire()  # here


async def shape_starred(it):
    await asyncio.gather(*[run(thing) for thing in it.things])  # here


async def shape_starred_pairs(it):
    await it.acquire(limit, *(one for one, _ in it.pairs), **{"two": 2})  # here


async def shape_comprehension(it):
    await it.inner.acquire([two for _, two in it.pairs if two], it.one)  # here


async def shape_choice(it):
    await it.acquire(it.one if it.flag else it.two, limit)  # here


async def shape_call_of_call(it):
    await it.get(limit).get(it.one).acquire(it.get().two)  # here


async def shape_operators(it):
    await it.acquire(it.one + 1, not it.flag, f"{it.one:>3}", {"a": 1}, it.pairs[0:1], it.one < 2)  # here


async def shape_lambda(it):
    await run(lambda number=1: number, it.one)  # here


async def shape_either(it):
    await (it.inner or it.other).acquire()  # here unknown


async def shape_which(it):
    await (it.inner if it.flag else it.other)  # here unknown


async def shape_sum(it):
    await (it.by_index + [it])[1].acquire()  # here unknown


async def shape_captured(it):
    lock = it.inner
    get = lambda: lock
    await lock.acquire(get)  # here


async def shape_wide(it):
    await it.inner.acquire(it.inner.inner.one, it.inner.inner.two, it.other.inner.one, it.other.inner.two, it.one)  # here


async def shape_result(it):
    thing = it.get((await it.other.acquire(1)).one)  # here
    return thing


async def shape_global(it):
    await FAR_THING.acquire(FAR)  # here


def closure(lock):
    async def shape_closure(it):
        async with lock:  # here
            return it

    return shape_closure


async def run_now():
    return 1


class SlowIterator(Thing):
    async def __anext__(self):
        raise StopAsyncIteration


def far_away():
    """A function with so many names and constants that instructions need longer arguments."""
    lines = ["async def shape_far(it):"]
    lines += ["    it.name_{0} = {0} + 0.5".format(number) for number in range(FAR)]
    lines += ["    await it.the_inner.acquire(it.name_299, 299.25)  # here"]
    return "\n".join(lines)


def shown(node):
    """What has a value by its name; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        of = shown(node.value)
        return of and of + "." + node.attr
    if isinstance(node, ast.Subscript):
        of = shown(node.value)
        return of and "%s[%s]" % (of, shown_key(node.slice))
    if isinstance(node, ast.Call):
        of = shown(node.func)
        return of and "%s(%s)" % (of, shown_arguments(node))
    return None


def shown_key(node):
    # Until 3.8 a key is in a node of its own.
    node = getattr(node, "value", node) if type(node).__name__ == "Index" else node
    if isinstance(node, ast.Tuple) and not constant(node):
        return ", ".join(map(shown_argument, node.elts))
    return shown_argument(node)


def shown_arguments(call):
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(it.arg is None for it in call.keywords):
        return LEFT_OUT
    texts = list(map(shown_argument, call.args))
    texts += ["%s=%s" % (it.arg, shown_argument(it.value)) for it in call.keywords]
    return ", ".join(texts[:MAX_ITEMS] + [LEFT_OUT] * (len(texts) > MAX_ITEMS))


def constant(node):
    """The value in a list, as compilers compute it; an empty list where it is none."""
    # What has a name, runs, or makes a text of something has to be evaluated.
    kinds = (ast.Name, ast.Call, ast.Attribute, ast.Await, ast.Lambda, ast.ListComp, ast.JoinedStr, ast.Starred, ast.IfExp)
    kinds += (ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Yield, ast.Slice, ast.List, ast.Dict, ast.Set, ast.Compare, ast.BoolOp)
    if any(isinstance(inner, kinds) for inner in ast.walk(node)):
        return []
    try:
        return [eval(compile(ast.Expression(node), "<constant>", "eval"), {})]
    except Exception:
        return []


def shown_argument(node):
    values = constant(node)
    if not values:
        return shown(node) or LEFT_OUT
    value = values[0]
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int) and abs(value) < LARGE:
        return repr(value)
    if isinstance(value, float) and (value == 0 or 1e-4 <= abs(value) < LARGE):
        return repr(value)
    return LEFT_OUT


def whole(node):
    text = shown(node)
    if text is not None and len(text) > MAX_TEXT:
        text = shown(node.func) + "(" + LEFT_OUT + ")" if isinstance(node, ast.Call) else None
    return text if text is None or len(text) <= MAX_TEXT else None


def answer(node, mark):
    """What is to be said of a node that waits."""
    is_end = "end" in mark.split()
    # Until 3.8 one instruction ends it, after an exception and without one.
    if "unknown" in mark or (is_end and sys.version_info < (3, 9)):
        return {"way": None, "receiver": None, "expression": None}
    if isinstance(node, ast.Await):
        value, receiver = node.value, None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            of = value.func.value
            receiver = whole(of)
        return {"way": "Await", "receiver": receiver, "expression": whole(value)}
    if isinstance(node, ast.AsyncFor):
        return {"way": "AsyncFor", "receiver": whole(node.iter), "expression": None}
    texts = [whole(item.context_expr) for item in node.items]
    way = "AsyncWithEnd" if is_end else "AsyncWith"
    return {"way": way, "receiver": texts[-1], "expression": None}


def answers(source):
    """By the names of functions."""
    lines = source.splitlines()
    found = {}
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.AsyncFunctionDef) or not function.name.startswith("shape_"):
            continue
        for node in ast.walk(function):
            if isinstance(node, (ast.Await, ast.AsyncWith, ast.AsyncFor)):
                _, here, mark = lines[node.lineno - 1].partition("# here")
                if here:
                    # The outermost one; what it contains does not wait.
                    found.setdefault(function.name, answer(node, mark))
    return found


FAR_THING = Thing()


def files():
    """Python files of asyncio, and of packages that are there for tests."""
    folders = [os.path.dirname(asyncio.__file__)] + os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for folder in folders:
        for path, _, names in os.walk(folder):
            yield from (os.path.join(path, name) for name in sorted(names) if name.endswith(".py"))


def code_objects(code):
    if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from code_objects(inner)


class Mangler(ast.NodeTransformer):
    """Gives private attributes the names that they have."""

    name = None

    def visit_ClassDef(self, node):
        outer, self.name = self.name, node.name.lstrip("_")
        self.generic_visit(node)
        self.name = outer
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if self.name and node.attr.startswith("__") and not node.attr.endswith("__"):
            node.attr = "_%s%s" % (self.name, node.attr)
        return node


def place(node):
    return (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)


def known_places(tree):
    """What is to be said, by the place in the source; nothing where two things wait at one place."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Await):
            found.setdefault(place(node), []).append(answer(node, ""))
        elif isinstance(node, ast.AsyncWith):
            for item in node.items:
                found.setdefault(place(item.context_expr), []).append(
                    {"way": "AsyncWith", "receiver": whole(item.context_expr), "expression": None}
                )
        elif isinstance(node, ast.AsyncFor):
            found.setdefault(place(node.iter), []).append(answer(node, ""))
    return {place: answers[0] for place, answers in found.items() if len(answers) == 1}


def told_of(path):
    """Each place of a file's code that waits, with what is to be said of it."""
    with open(path, encoding="utf-8") as file:
        source = file.read()
    if "async def" not in source:
        return
    places = known_places(Mangler().visit(ast.parse(source)))
    for code in code_objects(compile(source, path, "exec")):
        positions = list(code.co_positions())
        for instruction in dis.get_instructions(code):
            position = positions[instruction.offset // 2]
            if instruction.opname == "SEND" and position in places:
                where = "%s:%d" % (path, position[0])
                unit = instruction.offset // 2
                yield code, {"code": id(code), "unit": unit, "where": where, **places[position]}


def tell_of_code():
    told = []
    for path in files():
        try:
            told += told_of(path)
        except (SyntaxError, UnicodeDecodeError):
            # Files of packages that are made for other versions, or to be wrong.
            pass
        if len(told) > PLACES:
            break
    truth.announce({"places": [place for _, place in told]})
    return told


def watch(how):
    if how == "profile":
        sys.setprofile(lambda *_: None)
    elif how == "trace":
        follow = lambda *_: follow
        sys.settrace(follow)


async def main():
    global parks
    with open(__file__, encoding="utf-8") as file:
        found = answers(file.read())
    source = far_away()
    space = {}
    exec(compile(source, "<far>", "exec"), space)
    found.update(answers(source))
    shapes = [value for name, value in globals().items() if name.startswith("shape_")]
    shapes += [Derived.shape_super, closure(FAR_THING), space["shape_far"]]
    thing = Derived()
    thing.slow, thing.once, thing.the_inner = SlowToLeave(), Once(), thing.inner
    for shape in shapes:
        for _ in range(RUNS):
            await shape(thing)
    parks = True
    coroutines = [shape(thing) for shape in shapes]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    # Each runs until it waits for good.
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
    told = [
        {"function": shape.__name__, "coroutine": id(coroutine), **found.pop(shape.__name__)}
        for shape, coroutine in zip(shapes, coroutines)
    ]
    assert not found, found
    truth.announce({"shapes": told})
    await asyncio.get_event_loop().create_future()


truth.end_with_stdin()
kept = tell_of_code() if sys.argv[1:] == ["code"] else None
watch(sys.argv[1] if len(sys.argv) > 1 else "")
asyncio.run(main())
