"""Tasks that are not `_asyncio.Task`: classes that are registered, dicts that were looked at, and dicts of an unusual form."""
import asyncio

import truth


class Minimal:
    """Has the few attributes that asyncio asks a task for, and a coroutine that was begun by hand."""

    def __init__(self, coroutine):
        self.extra = None
        self._loop = asyncio.get_running_loop()
        self._coro = coroutine
        self._fut_waiter = coroutine.send(None)
        asyncio._register_task(self)

    def get_loop(self):
        return self._loop

    def get_coro(self):
        return self._coro

    def get_name(self):
        return self._name

    def set_name(self, name):
        self._name = name

    def done(self):
        return False


class Closed:
    """Keeps nothing under a name that could be known."""

    __slots__ = ("__weakref__", "own_loop", "own_coroutine", "own_name")

    def __init__(self, coroutine):
        self.own_loop = asyncio.get_running_loop()
        self.own_coroutine = coroutine
        coroutine.send(None)
        asyncio._register_task(self)

    # What asyncio asks a task of 3.7 for.
    _loop = property(lambda self: self.own_loop)

    def get_loop(self):
        return self.own_loop

    def get_coro(self):
        return self.own_coroutine

    def get_name(self):
        return self.own_name

    def set_name(self, name):
        self.own_name = name

    def done(self):
        return False


class Crowded(asyncio.tasks._PyTask):
    """With more attributes than are searched."""


class Late(asyncio.tasks._PyTask):
    """With slots, and with attributes before those of a task, so many that these are far behind, but still share their keys."""

    __slots__ = ("first", "second", "third")
    before = 20

    def __init__(self, coroutine, **options):
        add_attributes(self, self.before)
        super().__init__(coroutine, **options)


class Scattered(Late):
    """With more attributes than instances of a class can share the keys of, of which some are gone."""

    before = 40

    def __init__(self, coroutine, **options):
        super().__init__(coroutine, **options)
        for number in range(0, self.before, 2):
            delattr(self, f"attribute_{number}")


class Slotted:
    """What has a slot has no values of attributes in itself (3.13), or has them behind the slot."""

    __slots__ = ("slot",)


class BehindSlots(Slotted, asyncio.tasks._PyTask):
    pass


class Subclass(asyncio.tasks._PyTask):
    def __init__(self, coroutine, **options):
        self.before = 1
        super().__init__(coroutine, **options)
        self.after = 2


def add_attributes(task, count):
    for number in range(count):
        setattr(task, f"attribute_{number}", number)


def add_many(task):
    """More than instances of a class can share the keys of."""
    add_attributes(task, 40)


def replace_dict(task):
    task.__dict__ = dict(reversed(list(vars(task).items())))


def compute_names(task):
    """Equal names, but not those that programs refer to: these are not found."""
    task.__dict__ = {"".join(list(name)): value for name, value in vars(task).items()}


def copy_dict(task):
    """A copy shares the keys."""
    task.__dict__ = vars(task).copy()


def add_number(task):
    """A key that is no text."""
    vars(task)[1] = None


def change_class(task):
    """Keeps the places that the attributes have in the former class."""
    task.__class__ = Subclass


# What is done to tasks, by their names: most of it gives them other keys than those of their class.
CHANGES = {
    "grown": add_many,
    "replaced": replace_dict,
    "copied": copy_dict,
    "with a number": add_number,
    "of another class": change_class,
}


async def worker():
    await truth.never()


async def awaits(task):
    await task


def create(kind, coroutine, name):
    return truth.name_task(kind(coroutine, loop=asyncio.get_running_loop()), name)


def create_in_debug_mode(kind, coroutine, name):
    """Where a task has an attribute more than others of its class, in between."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    task = create(kind, coroutine, name)
    loop.set_debug(False)
    return task


async def finish():
    """Tasks that are done, and kept."""
    done = [create(kind, asyncio.sleep(0), "done") for kind in (Subclass, Late, Scattered)]
    cancelled = create(Subclass, worker(), "cancelled")
    await asyncio.wait(done)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    kept.extend([*done, cancelled])


def create_changed():
    for kind in (asyncio.tasks._PyTask, BehindSlots):
        for name, change in CHANGES.items():
            if change is change_class and kind is BehindSlots:
                continue  # Slots cannot be given up.
            task = create(kind, worker(), f"{kind.__name__} {name}")
            change(task)
            kept.append(task)


async def main():
    pure = create(asyncio.tasks._PyTask, worker(), "pure")
    looked_at = create(asyncio.tasks._PyTask, worker(), "looked at")
    kept.append(vars(looked_at))
    crowded = create(Crowded, worker(), "crowded")
    add_attributes(crowded, 200)
    await finish()
    debug = create_in_debug_mode(asyncio.tasks._PyTask, worker(), "debug")
    scattered = create(Scattered, worker(), "scattered")
    minimal = truth.name_task(Minimal(worker()), "minimal")
    closed = truth.name_task(Closed(worker()), "closed")
    kept.extend([pure, crowded, debug, scattered, minimal, closed])
    kept.extend(create(kind, worker(), kind.__name__) for kind in (Late, BehindSlots))
    create_changed()
    computed = create(asyncio.tasks._PyTask, worker(), "computed")
    compute_names(computed)
    kept.append(computed)
    kept.append(create(Subclass, awaits(pure), "subclass"))
    await asyncio.gather(pure, looked_at, kept[-1])


kept = []
awaited = ("pure", "looked at", "subclass")
edges = [("main", name) for name in awaited] + [("subclass", "pure")]
truth.run(main, edges=edges, opaque=("crowded", "closed", "computed"))
