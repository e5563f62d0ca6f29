"""A target's own answer to the question what its tasks wait for.

A target builds its shape, waits until every task is parked, and prints one line of JSON: the truth. It then stays as it is
until its standard input ends. The truth is computed by a plain callback of the loop, or by another thread: never by a task,
as the report has to describe the process as it remains afterwards.

This module does not import asyncio by itself: some targets have to do without.
"""

import gc
import inspect
import json
import os
import platform
import sys
import threading
import types

# Between two looks at the tasks; they are reported once two looks in a row saw the same.
SETTLING_SECONDS = 0.02

# What a version has. Tasks have had names since 3.8, code objects their qualified names since 3.11.
HAS_TASK_NAMES = sys.version_info >= (3, 8)
HAS_QUALIFIED_NAMES = sys.version_info >= (3, 11)

# Awaitables without a frame that lead to another one.
WRAPPERS = {
    "anext_awaitable",
    "async_generator_asend",
    "async_generator_athrow",
    "coroutine_wrapper",
}

# Native thread id and interpreter's thread identity of every event loop that runs here.
_threads = {}

# What `create_task` and `name_task` called the tasks of a version without names, for `Edges`.
_labels = {}

# Names of tasks that cannot be read.
_opaque = set()

# Of tasks that work inside a greenlet, the innermost frame of the stack that their coroutines are on: a thread that runs a greenlet does not know it.
apart = {}

# Functions that await on behalf of a greenlet, whose frames are not read: that they are missing is marked.
greenlet_drivers = set()
GREENLET_FRAMES = {"function": "… frames of a greenlet …", "file": "", "line": 0, "kind": "left_out"}

# Tasks in the middle of a change, for as long as the target stays as it is.
torn = set()


def run(main, *, edges=(), optional_edges=(), observe=False, ready=None, more=None, loop_factory=None, opaque=()):
    """Runs `main()` in an event loop and reports once everything is parked.

    `edges` are pairs (waiter, awaited), see `Edges`: every task of the first waits for every task of the second. `optional_edges` are true as well, but lead through objects that need not be looked into. `observe` is for programs whose tasks are not all their own.
    `opaque` are names of tasks that cannot be read: they are counted only. `ready` says whether the shape is complete, where equal looks are not proof enough.
    `more()` gives what else is to be reported at that moment.
    """

    _opaque.update(opaque)

    def settle(loop):
        loop.call_soon(_settle, loop, Edges(edges, optional_edges, observe), ready, more, None)

    run_loop(main, begin=settle, loop_factory=loop_factory)


def run_loop(main, *, begin=None, loop_factory=None, answer=None):
    """Runs `main()` in an event loop of this thread, as `asyncio.run` does (and its Runner, which came with 3.11); `begin(loop)` is called before; for `answer`, see `end_with_stdin`."""
    import asyncio

    end_with_stdin(answer)
    loop = (loop_factory or asyncio.new_event_loop)()
    asyncio.set_event_loop(loop)
    enter_loop(loop)
    if begin is not None:
        begin(loop)
    loop.run_until_complete(main())


def create_task(coroutine, name):
    """A task of that name, where tasks have names; `Edges` knows it by the name in any case."""
    import asyncio

    if HAS_TASK_NAMES:
        return asyncio.create_task(coroutine, name=name)
    return name_task(asyncio.create_task(coroutine), name)


def name_task(task, name):
    """Names a task that is there already, as `create_task` does."""
    if HAS_TASK_NAMES:
        task.set_name(name)
    else:
        _labels[task] = name
    return task


def enter_loop(loop):
    """Notes that `loop` runs in the calling thread."""
    _threads[loop] = (native_id(), threading.get_ident())


def native_id():
    """What the kernel calls the calling thread; 3.7 does not tell."""
    if hasattr(threading, "get_native_id"):
        return threading.get_native_id()
    import ctypes

    gettid = 186  # The number of that system call on x86-64.
    return ctypes.CDLL(None).syscall(gettid)


def loops():
    """The event loops that this module knows."""
    return list(_threads)


def leave_loop(loop):
    """Notes that `loop` has tasks, but runs in no thread."""
    _threads[loop] = (None, None)


def end_with_stdin(answer=None):
    """Ends the process when its standard input ends; lines that arrive before go to `answer`."""

    def watch():
        for line in sys.stdin:
            if answer is not None:
                answer(line.strip())
        os._exit(0)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def report(edges=(), optional_edges=(), **more):
    """Prints the truth at this moment."""
    answer = snapshot(Edges(edges, optional_edges))
    announce({**answer, **more})


def announce(answer):
    """Prints one line of JSON that names this process."""
    answer = {"pid": os.getpid(), "python": platform.python_version(), **answer}
    print(json.dumps(answer), flush=True)


def showable(text):
    """The text as JSON in UTF-8 can carry it: half of a surrogate pair is no character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Edges:
    """Who waits for whom: pairs of tasks' names, or of the qualified names of their outermost coroutine functions."""

    def __init__(self, edges=(), optional_edges=(), observe=False):
        # Those of a shape may become more while it runs.
        self.required = edges
        self.optional = optional_edges
        # Whether to add what the tasks themselves tell; see `awaited_tasks`.
        self.observe = observe

    def fill(self, tasks, awaited):
        """Adds `awaited_by` and `optional_awaited_by` to `tasks`; `awaited` has what the tasks tell, by address."""
        labels = {address(task): label for task, label in _labels.items()}
        words = {task["id"]: _words(task, labels) for task in tasks}
        called = {}
        for task in tasks:
            for word in words[task["id"]]:
                called.setdefault(word, set()).add(task["id"])
        for task in tasks:
            for key, pairs in (("awaited_by", self.required), ("optional_awaited_by", self.optional)):
                waiters = [called.get(waiter, ()) for waiter, name in pairs if name in words[task["id"]]]
                if key == "awaited_by":
                    waiters += [{waiter} for waiter, tasks in awaited.items() if task["id"] in tasks]
                task[key] = sorted(set().union(*waiters), key=lambda address: int(address, 16))


def _words(task, labels):
    return {task["name"], labels.get(task["id"]), *(frame["function"] for frame in task["stack"][-1:])}


def _settle(loop, edges, ready, more, before):
    now = snapshot(edges)
    # A loop that has callbacks ready is not at rest. Other kinds of loops do not tell.
    busy = bool(getattr(loop, "_ready", ()))
    if now == before and not busy and (ready is None or ready()):
        announce({**now, **(more() if more is not None else {})})
    else:
        loop.call_later(SETTLING_SECONDS, _settle, loop, edges, ready, more, now)


def snapshot(edges):
    """Every task of the loops that this module knows."""
    import asyncio

    found = [(task, loop) for loop in list(_threads) for task in all_tasks(loop)]
    readable = [(task, loop) for task, loop in found if _opaque.isdisjoint([name_of(task), _labels.get(task)])]
    tasks = [describe(task, loop) for task, loop in readable if task not in torn]
    tasks.sort(key=lambda task: int(task["id"], 16))
    edges.fill(tasks, {address(task): awaited_tasks(task) for task, _ in found if edges.observe})
    return {"tasks": tasks, "opaque": len(found) - len(readable), "torn": len(readable) - len(tasks)}


def all_tasks(loop):
    """Every task of `loop`: with `_asyncio`, `asyncio.all_tasks` of 3.14 leaves out those that are written in Python."""
    import asyncio

    in_python = getattr(asyncio.tasks, "_py_all_tasks", asyncio.all_tasks)
    return asyncio.all_tasks(loop) | in_python(loop)


def awaited_tasks(task):
    """The addresses of the tasks that `task` waits for directly or by gather()."""
    import asyncio

    found, futures = set(), [task._fut_waiter]
    while futures:
        future = futures.pop()
        if isinstance(future, asyncio.Task):
            found.add(address(future))
        futures.extend(getattr(future, "_children", ()))
    return found


def describe(task, loop):
    """What `task` is doing."""
    import asyncio

    native_id, identity = _threads[loop]
    # Not all that are at work are the current task: a loop may be run within a task of its own. And the current task's coroutine may be
    # suspended already, while the task still hands its next step to the loop.
    running = identity is not None and is_running(coroutine_of(task))
    if running:
        stack, waits_on = running_stack(task, identity), None
    else:
        stack, waits_on = suspended_stack(task)
    return {
        "id": address(task),
        "name": name_of(task),
        "tid": native_id,
        "state": "running" if running else "ready" if is_ready(task) else "pending",
        "stack": stack,
        "waits_on": waits_on,
        "cancelling": cancellations(task),
    }


def cancellations(task):
    """How many cancellations of `task` were asked for and not taken back; 0 where it cannot be read, of a task that is written in Python."""
    c_task = getattr(sys.modules.get("_asyncio"), "Task", ())
    if not isinstance(task, c_task):
        return 0
    return task.cancelling() if hasattr(task, "cancelling") else int(task._must_cancel)


def is_ready(task):
    """Whether a task that is not running waits for its loop only: it has not begun, or what it awaited is done."""
    coroutine = coroutine_of(task)
    if isinstance(coroutine, (types.CoroutineType, types.GeneratorType)) and not is_begun(coroutine):
        return True
    waiter = task._fut_waiter
    return waiter is None or waiter.done()


def is_begun(coroutine):
    """Whether a coroutine, or a generator in its place, was ever sent anything."""
    state = inspect.getgeneratorstate if isinstance(coroutine, types.GeneratorType) else inspect.getcoroutinestate
    return state(coroutine) not in (inspect.CORO_CREATED, inspect.GEN_CREATED)


def address(thing):
    return hex(id(thing))


def coroutine_of(task):
    """What the task runs; 3.7 has no `get_coro`."""
    return task.get_coro() if hasattr(task, "get_coro") else task._coro


def is_running(coroutine):
    """Whether a coroutine, or a generator in its place (before 3.12), is being executed."""
    if isinstance(coroutine, types.GeneratorType):
        return coroutine.gi_running
    return coroutine.cr_running


def name_of(task):
    """The task's name, without changing the task: CPython keeps a number until somebody asks for the name. None where tasks have no names."""
    import asyncio

    if not HAS_TASK_NAMES:
        return None
    # Not asked of the task, as that would make its name.
    if isinstance(task, getattr(asyncio.tasks, "_CTask", ())):
        for referent in gc.get_referents(task):
            if type(referent) is int:
                return f"Task-{referent}"
    return showable(task.get_name())


def suspended_stack(task):
    """The chain of a task that is not running, innermost first, and what it waits for."""
    import asyncio

    frames = []
    awaitable, terminal = coroutine_of(task), None
    while awaitable is not None:
        frame, following = suspended_frame(awaitable)
        if frame is not None:
            frames.append(frame)
            awaitable = following
        elif type(awaitable).__name__ in WRAPPERS:
            awaitable = wrapped(awaitable)
        else:
            terminal = behind_iterator(awaitable)
            break
    if terminal is None or (not asyncio.isfuture(terminal) and task._fut_waiter is not None):
        # Suspended in a plain `yield`, or in an object of another kind: the task knows the future that it was given.
        terminal = task._fut_waiter
    waits_on = None
    if terminal is not None:
        kind = kind_of(terminal, frames[-1])
        waits_on = {"kind": kind, "id": address(terminal), "type": type(terminal).__name__, "state": future_state(terminal)}
    return list(_with_gaps(frame_entry(frame) for frame in reversed(frames))), waits_on


def _with_gaps(stack):
    for frame in stack:
        if frame["function"] in greenlet_drivers:
            yield GREENLET_FRAMES
        yield frame


def suspended_frame(awaitable):
    """The frame of a coroutine or generator and what it awaits, if it is suspended; (None, None) for anything else."""
    if isinstance(awaitable, types.CoroutineType):
        return awaitable.cr_frame, awaitable.cr_await
    if isinstance(awaitable, types.AsyncGeneratorType):
        return awaitable.ag_frame, awaitable.ag_await
    if isinstance(awaitable, types.GeneratorType):
        return awaitable.gi_frame, awaitable.gi_yieldfrom
    if is_compiled(awaitable):
        return awaitable, awaitable.cr_await
    return None, None


def is_compiled(awaitable):
    """Whether it is a coroutine that Cython compiled: one that is not Python's, and has no frame worth the name."""
    return type(awaitable).__name__ == "coroutine" and not isinstance(awaitable, types.CoroutineType)


def wrapped(wrapper):
    """What a frameless wrapper leads to."""
    inner = (types.CoroutineType, types.AsyncGeneratorType, types.GeneratorType)
    for referent in gc.get_referents(wrapper):
        if isinstance(referent, inner) or is_compiled(referent) or type(referent).__name__ in WRAPPERS:
            return referent
    raise AssertionError(f"{wrapper!r} leads nowhere")


def behind_iterator(awaitable):
    """The future behind the iterator that awaiting it made; anything else is terminal itself."""
    if type(awaitable).__name__ != "FutureIter":
        return awaitable
    (future,) = [it for it in gc.get_referents(awaitable) if hasattr(it, "_asyncio_future_blocking")]
    return future


def future_state(terminal):
    """How far a future has come; None of what is no future of asyncio."""
    import asyncio

    if not isinstance(terminal, (asyncio.Future, asyncio.futures._PyFuture)):
        return None
    return "cancelled" if terminal.cancelled() else "done" if terminal.done() else "pending"


def kind_of(terminal, innermost):
    """What sort of object ends a chain."""
    import asyncio

    if isinstance(terminal, (asyncio.Task, asyncio.tasks._PyTask)):
        return "task"
    if type(terminal).__name__ == "_GatheringFuture":
        return "gather"
    if not asyncio.isfuture(terminal):
        return "other"
    if is_compiled(innermost):
        return "future"
    here = innermost.f_locals
    if getattr(here.get("self"), "_on_completed_fut", None) is terminal:
        return "task_group"
    if innermost.f_code.co_name == "_wait" and here.get("waiter") is terminal:
        return "wait"
    return "future"


def running_stack(task, identity):
    """The Python frames of a running task, innermost first, down to the task's own coroutine."""
    outermost, _ = suspended_frame(coroutine_of(task))
    frames = []
    for frame in filter(None, [current_frame(identity), apart.get(task)]):
        while frame is not None:
            frames.append(frame_entry(frame))
            if frame is outermost:
                return frames
            frame = frame.f_back
    raise AssertionError("the task's coroutine is not on its thread's stack")


def current_frame(identity):
    """The innermost frame of a thread."""
    return sys._current_frames()[identity]


def frame_entry(frame):
    if is_compiled(frame):
        return {
            "function": frame.__qualname__,
            "file": frame.cr_code.co_filename,
            "line": 0,
            "kind": "opaque",
        }
    code = frame.f_code
    return {
        "function": function_name(code),
        "file": code.co_filename,
        "line": frame.f_lineno,
        "kind": code_kind(code),
    }


def function_name(code):
    """The name that a code object bears: the qualified one, where it has one."""
    return code.co_qualname if HAS_QUALIFIED_NAMES else code.co_name


def shown_name(qualified):
    """What is shown of a function's qualified name."""
    return qualified if HAS_QUALIFIED_NAMES else qualified.rpartition(".")[2]


def code_kind(code):
    flags = code.co_flags
    if flags & inspect.CO_COROUTINE:
        return "coroutine"
    if flags & inspect.CO_ASYNC_GENERATOR:
        return "async_generator"
    if flags & inspect.CO_GENERATOR:
        return "generator"
    return "function"


def report_from_thread(ready, edges=(), observe=False):
    """Reports from another thread once `ready()` holds and two looks saw the same: for loops that are busy."""
    import time

    def look():
        before = None
        while True:
            now = snapshot(Edges(edges, observe=observe)) if ready() else None
            if now is not None and now == before:
                announce(now)
                return
            before = now
            time.sleep(SETTLING_SECONDS)

    threading.Thread(target=look, name="reporter", daemon=True).start()


# A suspended task is held by what wakes it only; a future that nobody else refers to would be garbage with its task.
_kept = []


def never():
    """A future that nothing completes."""
    import asyncio

    future = asyncio.get_running_loop().create_future()
    _kept.append(future)
    return future
