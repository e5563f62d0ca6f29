"""Tasks that are not `_asyncio.Task`: classes that are registered, dicts that were looked at, and dicts of an unusual form."""
# needs: 3.11
import asyncio

import truth


class Minimal:
    """Has the few attributes that asyncio asks a task for, and a coroutine that was begun by hand."""

    def __init__(self, coroutine, name):
        self.extra = None
        self._loop = asyncio.get_running_loop()
        self._coro = coroutine
        self._name = name
        self._fut_waiter = coroutine.send(None)
        asyncio._register_task(self)

    def get_loop(self):
        return self._loop

    def get_coro(self):
        return self._coro

    def get_name(self):
        return self._name

    def done(self):
        return False


class Closed:
    """Keeps nothing under a name that could be known."""

    __slots__ = ("__weakref__", "own_loop", "own_coroutine", "own_name")

    def __init__(self, coroutine, name):
        self.own_loop = asyncio.get_running_loop()
        self.own_coroutine, self.own_name = coroutine, name
        coroutine.send(None)
        asyncio._register_task(self)

    def get_loop(self):
        return self.own_loop

    def get_coro(self):
        return self.own_coroutine

    def get_name(self):
        return self.own_name

    def done(self):
        return False


class Crowded(asyncio.tasks._PyTask):
    """With more attributes than instances of a class can share the keys of."""


class Subclass(asyncio.tasks._PyTask):
    def __init__(self, coroutine, **options):
        self.before = 1
        super().__init__(coroutine, **options)
        self.after = 2


async def worker():
    await truth.never()


async def awaits(task):
    await task


async def main():
    loop = asyncio.get_running_loop()
    pure = asyncio.tasks._PyTask(worker(), loop=loop, name="pure")
    looked_at = asyncio.tasks._PyTask(worker(), loop=loop, name="looked at")
    kept.append(vars(looked_at))
    crowded = Crowded(worker(), loop=loop, name="crowded")
    for number in range(100):
        setattr(crowded, f"attribute_{number}", number)
    done = Subclass(asyncio.sleep(0), loop=loop)
    await done
    kept.extend([pure, looked_at, crowded, done, Minimal(worker(), "minimal"), Closed(worker(), "closed")])
    kept.append(Subclass(awaits(pure), loop=loop, name="subclass"))
    await asyncio.gather(pure, looked_at, kept[-1])


kept = []
awaited = ("pure", "looked at", "subclass")
edges = [("main", name) for name in awaited] + [("subclass", "pure")]
truth.run(main, edges=edges, opaque=("crowded", "closed"))
