"""A trio target's own answer to the question what its tasks wait for: see `truth`.

A task is described as everywhere, and by what only trio has: whether it is parked, and its nurseries. The truth is computed by another
thread, which looks until two looks see the same and nothing is about to run. This module does not import asyncio.
"""

import gc
import inspect
import json
import os
import platform
import sys
import threading
import time
import types

import trio

# Between two looks at the tasks.
SETTLING_SECONDS = 0.02
# Types of awaitables without a frame that lead to another one.
WRAPPERS = {"anext_awaitable", "async_generator_asend", "async_generator_athrow", "coroutine_wrapper"}
TRIO = os.path.dirname(trio.__file__) + os.sep
TRAPS = TRIO + os.path.join("_core", "_traps.py")

# Every runner that runs here, with its thread: native id and the interpreter's identity.
_runners = {}


def run(main, ready=None):
    """Runs `main()` and reports once every task is parked, or blocks its thread for good."""
    end_with_stdin()
    report_once_settled(ready, runs=1)
    trio.run(entered, main)


def run_as_guest(loop, main):
    """Runs `main()` as `run` does, as a guest of asyncio's `loop`, which runs in the calling thread; that goes on meanwhile."""
    trio.lowlevel.start_guest_run(
        entered,
        main,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=lambda outcome: outcome.unwrap(),
    )


async def entered(main, *arguments):
    """Runs `main` in a run of trio that is part of the truth. Adds no frame to what others see of it: it is the outermost one."""
    enter()
    await main(*arguments)


def enter():
    """Notes the runner of the calling thread."""
    runner = trio.lowlevel.current_task()._runner
    _runners[runner] = (native_id(), threading.get_ident())


def native_id():
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    return ctypes.CDLL(None).gettid()


def end_with_stdin(answer=None):
    """Ends the process when its standard input ends; lines that arrive before go to `answer`."""

    def watch():
        for line in sys.stdin:
            if answer is not None:
                answer(line.strip())
        os._exit(0)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def announce(answer):
    """Prints one line of JSON that names this process."""
    answer = dict({"pid": os.getpid(), "python": platform.python_version(), "trio": trio.__version__}, **answer)
    print(json.dumps(answer), flush=True)


def report_once_settled(ready=None, runs=1, others=list):
    """Reports from another thread, as soon as `runs` runs have begun and two looks saw the same. `others` gives tasks of other kinds."""

    def look():
        before = None
        while True:
            time.sleep(SETTLING_SECONDS)
            is_ready = len(_runners) == runs and (ready is None or ready())
            is_busy = any(runner.runq for runner in list(_runners))
            now = None if is_busy or not is_ready else snapshot() + others()
            if now is not None and now == before:
                announce({"tasks": now})
                return
            before = now

    threading.Thread(target=look, name="reporter", daemon=True).start()


def report_blocked(ready, others=list):
    """Reports from another thread once `ready()` holds and two looks saw the same: for a run whose thread is blocked. `others` is as above."""

    def look():
        before = None
        while True:
            time.sleep(SETTLING_SECONDS)
            now = snapshot() + others() if ready() else None
            if now is not None and now == before:
                announce({"tasks": now})
                return
            before = now

    threading.Thread(target=look, name="reporter", daemon=True).start()


def snapshot():
    """Every task of the runs that this module knows."""
    tasks = [task for runner in list(_runners) for task in list(runner.tasks)]
    tasks.sort(key=id)
    waiters = {}
    for waiter in tasks:
        for task in awaited(waiter):
            waiters.setdefault(task, []).append(address(waiter))
    return [dict(describe(task), awaited_by=waiters.get(task, [])) for task in tasks]


def address(thing):
    return hex(id(thing))


def awaited(task):
    """The tasks that `task` waits for: the children of the nursery that it is about to leave."""
    nursery = nursery_waited_for(task)
    return () if nursery is None else nursery.child_tasks


def nursery_waited_for(task):
    for nursery in task.child_nurseries:
        if nursery._parent_waiting_in_aexit:
            return nursery
    return None


def describe(task):
    thread, identity = _runners[task._runner]
    running = task.coro.cr_running
    frames = running_frames(task, identity) if running else suspended_frames(task)
    return {
        "id": address(task),
        "name": task.name,
        "tid": thread,
        "state": "running" if running else "pending",
        "stack": [frame_entry(frame) for frame in frames],
        "waits_on": None if running else waits_on(task, frames),
        "trio": {
            "state": turn(task, running),
            "parent_nursery": address(task.parent_nursery) if task.parent_nursery is not None else None,
            "nurseries": [
                {"id": address(nursery), "tasks": sorted((address(it) for it in nursery.child_tasks), key=number)}
                for nursery in task.child_nurseries
            ],
        },
    }


def number(text):
    return int(text, 16)


def turn(task, running):
    """What trio would do with the task next."""
    if running:
        return "running"
    if task._next_send_fn is not None:
        return "runnable"
    return "parked" if task._abort_func is not None else "cancelling"


def waits_on(task, frames):
    """The nursery, or the object whose method parked the task: of trio's functions the outermost that has a `self`."""
    if task._next_send_fn is not None:
        return None
    nursery = nursery_waited_for(task)
    if nursery is not None:
        return {"kind": "nursery", "id": address(nursery), "type": type(nursery).__name__}
    found = None
    for frame in frames:
        if not frame.f_code.co_filename.startswith(TRIO):
            break
        if "self" in frame.f_locals:
            found = frame.f_locals["self"]
    if found is None:
        return None
    return {"kind": "parked", "id": address(found), "type": type(found).__name__}


def suspended_frames(task):
    """The frames of a task that is not running, innermost first."""
    frames = []
    awaitable = task.coro
    while awaitable is not None:
        if isinstance(awaitable, types.CoroutineType):
            frame, awaitable = awaitable.cr_frame, awaitable.cr_await
        elif isinstance(awaitable, types.AsyncGeneratorType):
            frame, awaitable = awaitable.ag_frame, awaitable.ag_await
        elif isinstance(awaitable, types.GeneratorType):
            frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
        else:
            assert type(awaitable).__name__ in WRAPPERS, awaitable
            awaitable = wrapped(awaitable)
            continue
        frames.append(frame)
    frames.reverse()
    return frames


def wrapped(wrapper):
    """What a frameless wrapper leads to."""
    inner = (types.CoroutineType, types.AsyncGeneratorType, types.GeneratorType)
    for referent in gc.get_referents(wrapper):
        if isinstance(referent, inner) or type(referent).__name__ in WRAPPERS:
            return referent
    raise AssertionError("{!r} leads nowhere".format(wrapper))


def running_frames(task, identity):
    """The Python frames of a running task, innermost first, down to the task's own coroutine."""
    outermost = task.coro.cr_frame
    frame, frames = sys._current_frames()[identity], []
    while frame is not None:
        frames.append(frame)
        if frame is outermost:
            return frames
        frame = frame.f_back
    raise AssertionError("the task's coroutine is not on its thread's stack")


def frame_entry(frame):
    code = frame.f_code
    return {
        "function": getattr(code, "co_qualname", code.co_name),
        "file": code.co_filename,
        "line": frame.f_lineno,
        "kind": code_kind(code),
    }


def shown_name(qualified):
    """What a function is called in this version: the qualified name is known since 3.11."""
    return qualified if sys.version_info >= (3, 11) else qualified.rsplit(".", 1)[-1]


def code_kind(code):
    flags = code.co_flags
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async_generator"
    if flags & inspect.CO_GENERATOR:
        return "generator"
    return "function"
