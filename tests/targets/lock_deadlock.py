"""Tasks that hold what others wait for, in the way that the argument says; each says who holds what, and which tasks wait for each other.

No task belongs to nobody: a plain callback reports once every task is where it stays. `busy` reports at once, and goes on.
"""
import asyncio
import contextlib
import random
import sys

import truth

loop = asyncio.new_event_loop()
tasks = {}
# By a waiting task's name: what it waits for, the names of those who hold that, and whether these are all.
expected = {}
# Names of the tasks of each deadlock; of some there are several ways to tell them.
deadlocks = []


def start(name, coroutine):
    tasks[name] = name_task(loop.create_task(coroutine), name)


def name_task(task, name):
    return truth.name_task(task, name)


def waits(name, thing, holders, known=True):
    expected[name] = {"id": truth.address(thing), "holders": holders, "known": known}


async def take(lock):
    async with lock:
        await truth.never()


async def take_both(first, second):
    async with first:
        # Until the others have theirs.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        async with second:
            pass


def crossed():
    one, two = asyncio.Lock(), asyncio.Lock()
    start("left", take_both(one, two))
    start("right", take_both(two, one))
    start("behind", late(one))
    waits("left", two, ["right"])
    waits("right", one, ["left"])
    waits("behind", one, ["left"])
    deadlocks.append([["left", "right"]])


async def late(lock):
    for _ in range(5):
        await asyncio.sleep(0)
    async with lock:
        pass


def ring():
    locks = [asyncio.Lock() for _ in range(5)]
    for place in range(5):
        start("ring-%d" % place, take_both(locks[place], locks[(place + 1) % 5]))
        waits("ring-%d" % place, locks[(place + 1) % 5], ["ring-%d" % ((place + 1) % 5)])
    deadlocks.append([["ring-%d" % place for place in range(5)]])


def itself():
    lock = asyncio.Lock()

    async def nested():
        async with lock:
            await inner()

    async def inner():
        async with lock:
            pass

    start("nested", nested())
    waits("nested", lock, ["nested"])
    deadlocks.append([["nested"]])


def awaited():
    lock = asyncio.Lock()

    async def outer():
        async with lock:
            task = name_task(asyncio.ensure_future(late(lock)), "inner")
            tasks["inner"] = task
            await asyncio.gather(task)

    start("outer", outer())
    waits("inner", lock, ["outer"])
    deadlocks.append([["inner", "outer"]])


def semaphores():
    gate = asyncio.BoundedSemaphore(2)
    start("first", take_both(gate, gate))
    start("second", take_both(gate, gate))
    waits("first", gate, ["first", "second"])
    waits("second", gate, ["first", "second"])
    deadlocks.append([["first"], ["second"]])


def held():
    """Nothing here is a deadlock."""
    lock, unknown, plain, bounded = (
        asyncio.Lock(),
        asyncio.Lock(),
        asyncio.Semaphore(1),
        asyncio.BoundedSemaphore(2),
    )
    managed_lock, condition, half = asyncio.Lock(), asyncio.Condition(), asyncio.BoundedSemaphore(2)

    @contextlib.asynccontextmanager
    async def managed():
        async with managed_lock:
            yield

    async def by_manager():
        async with managed():
            await truth.never()

    async def by_acquire(thing):
        await thing.acquire()
        await truth.never()

    async def in_condition():
        async with condition:
            await condition.wait()

    start("sleeper", take(lock))
    start("manager", by_manager())
    start("acquirer", by_acquire(unknown))
    start("gate", take(plain))
    start("bounded-1", take(bounded))
    start("bounded-2", take(bounded))
    start("half-1", take(half))
    start("half-2", by_acquire(half))
    start("notified", in_condition())
    start("in-condition", late_take(condition))
    for name, thing, holders, known in [
        ("wants-lock", lock, ["sleeper"], True),
        ("wants-managed", managed_lock, ["manager"], True),
        ("wants-unknown", unknown, [], False),
        ("wants-plain", plain, ["gate"], False),
        ("wants-bounded", bounded, ["bounded-1", "bounded-2"], True),
        ("wants-half", half, ["half-1"], False),
    ]:
        start(name, late(thing))
        waits(name, thing, holders, known)
    start("wants-condition", late(condition))
    waits("wants-condition", condition._lock, ["in-condition"])


async def late_take(thing):
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await take(thing)


def left():
    """The one that had the lock is gone."""
    lock = asyncio.Lock()

    async def forgets():
        await lock.acquire()

    async def waits_for_all(names):
        await asyncio.gather(*[tasks[name] for name in names])

    loop.run_until_complete(forgets())
    names = ["waiter-1", "waiter-2"]
    for name in names:
        start(name, late(lock))
        waits(name, lock, [])
    start("main", waits_for_all(names))


def busy():
    locks = [asyncio.Lock() for _ in range(4)]

    async def worker():
        while True:
            first, second = sorted(random.sample(range(4), 2))
            async with locks[first]:
                await asyncio.sleep(random.choice([0, 0.0005]))
                async with locks[second]:
                    await asyncio.sleep(random.choice([0, 0.0005]))

    for number in range(20):
        start("worker-%d" % number, worker())


def beside():
    """A deadlock in a program that goes on."""
    busy()
    crossed()


def many():
    """10,000 tasks, two of which wait for each other."""
    crossed()
    lock = asyncio.Lock()
    start("holder", take(lock))
    for number in range(10000):
        start("waiter-%d" % number, late(lock))


def report():
    if sys.argv[1] not in ("busy", "beside") and not all(is_parked(task) for task in tasks.values()):
        loop.call_later(0.01, report)
        return
    ids = {name: truth.address(task) for name, task in tasks.items()}
    truth.announce(
        {
            "waits": {
                ids[name]: {**wait, "holders": sorted(ids[holder] for holder in wait["holders"])}
                for name, wait in expected.items()
            },
            "deadlocks": [[sorted(ids[name] for name in names) for names in ways] for ways in deadlocks],
            "names": ids,
        }
    )


def is_parked(task):
    """Whether a task waits for what does not come: no turn is left that it would have by itself."""
    waiter = task._fut_waiter
    return waiter is not None and not waiter.done()


if __name__ == "__main__":
    asyncio.set_event_loop(loop)
    truth.end_with_stdin()
    globals()[sys.argv[1]]()
    loop.call_later(0.05, report)
    loop.run_forever()
