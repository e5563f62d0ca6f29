"""Tasks that are not `_asyncio.Task`: classes that are registered, dicts that were looked at, and dicts of an unusual form."""
import asyncio
import sys

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
    """With more attributes than are searched, and than instances of a class can share the keys of."""


class Scattered(asyncio.tasks._PyTask):
    """With many attributes before those of a task, of which some are gone."""

    def __init__(self, coroutine, **options):
        for number in range(40):
            setattr(self, f"attribute_{number}", number)
        super().__init__(coroutine, **options)
        for number in range(0, 40, 2):
            delattr(self, f"attribute_{number}")


class Subclass(asyncio.tasks._PyTask):
    def __init__(self, coroutine, **options):
        self.before = 1
        super().__init__(coroutine, **options)
        self.after = 2


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
    done = create(Subclass, asyncio.sleep(0), "done")
    cancelled = create(Subclass, worker(), "cancelled")
    await done
    cancelled.cancel()
    await asyncio.wait([cancelled])
    kept.extend([done, cancelled])


async def main():
    pure = create(asyncio.tasks._PyTask, worker(), "pure")
    looked_at = create(asyncio.tasks._PyTask, worker(), "looked at")
    kept.append(vars(looked_at))
    crowded = create(Crowded, worker(), "crowded")
    for number in range(200):
        setattr(crowded, f"attribute_{number}", number)
    await finish()
    debug = create_in_debug_mode(asyncio.tasks._PyTask, worker(), "debug")
    scattered = create(Scattered, worker(), "scattered")
    minimal = truth.name_task(Minimal(worker()), "minimal")
    closed = truth.name_task(Closed(worker()), "closed")
    kept.extend([pure, crowded, debug, scattered, minimal, closed])
    kept.append(create(Subclass, awaits(pure), "subclass"))
    await asyncio.gather(pure, looked_at, kept[-1])


kept = []
awaited = ("pure", "looked at", "subclass")
edges = [("main", name) for name in awaited] + [("subclass", "pure")]
# Until 3.10 an instance's attributes are searched for, from then on they are where those of its class are.
opaque = ("crowded", "closed") + (("scattered",) if sys.version_info >= (3, 11) else ())
truth.run(main, edges=edges, opaque=opaque)
