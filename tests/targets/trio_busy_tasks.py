"""A thousand tasks in a run of trio that never rests: as `busy_tasks`, with trio's functions between the tasks and the loop."""

import inspect

import busy_families
import trio
import trio_truth
from trio._core import _entry_queue, _io_epoll, _parking_lot, _run, _traps, _wakeup_socketpair

TASKS = 1000
# Tasks of no family, by their outermost function.
OTHERS = {
    "main": "__main__.main",
    "init": "<init>",
    "task": "<TrioToken.run_sync_soon task>",
}


async def main():
    trio_truth.enter()
    busy_families.locks.extend(trio.Lock() for _ in range(20))
    async with trio.open_nursery() as nursery:
        for number in range(TASKS):
            name, root = busy_families.family_of(number)
            nursery.start_soon(root, number, name=name)
        announce_once_begun(trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()._runner)


def announce_once_begun(token, runner):
    """A task that has not had its first turn is nowhere in its coroutine yet."""
    if all(task._schedule_points for task in runner.tasks):
        announce_grammar()
    else:
        token.run_sync_soon(announce_once_begun, token, runner)


def announce_grammar():
    every = [main] + busy_families.own_functions() + [inspect.unwrap(it) for it in library()]
    functions = busy_families.by_name((name(function), rules(function)) for function in every)
    trio_truth.announce({"tasks": TASKS + len(OTHERS), "others": others(functions), "traps": TRAPS, "functions": functions})


def others(functions):
    """The names of tasks, by what their outermost function is called in this version."""
    return {function: OTHERS[last] for function in functions for last in [function.split(".")[-1]] if last in OTHERS}


def name(function):
    code = function.__code__
    return getattr(code, "co_qualname", code.co_name)


def rules(function):
    found = busy_families.rules(function)
    for line, awaits in found["awaits"].items():
        # The one generator among trio's functions has another name than that by which it is called.
        found["awaits"][line] = [TRAP if it == "_async_yield" else it for it in awaits]
    if function is _traps._async_yield:
        lines = range(found["first_line"], found["last_line"] + 1)
        found["awaits"].update({str(line): [None] for line in lines})
    return found


TRAP = _traps._async_yield.__name__
# Functions of that module.
TRAPS = ["wait_task_rescheduled", "cancel_shielded_checkpoint", TRAP]


def library():
    """The functions of trio that the own ones lead into, and those of trio's own tasks."""
    return [
        trio.sleep,
        trio.sleep_until,
        trio.sleep_forever,
        trio.lowlevel.checkpoint,
        trio.lowlevel.checkpoint_if_cancelled,
        trio.lowlevel.cancel_shielded_checkpoint,
        trio.lowlevel.wait_task_rescheduled,
        trio.lowlevel.wait_readable,
        trio.Lock.__aenter__,
        trio.Lock.__aexit__,
        trio.Lock.acquire,
        _traps._async_yield,
        _parking_lot.ParkingLot.park,
        _run.NurseryManager.__aenter__,
        _run.NurseryManager.__aexit__,
        _run.Nursery._nested_child_finished,
        _run.Runner.init,
        _entry_queue.EntryQueue.task,
        _wakeup_socketpair.WakeupSocketpair.wait_woken,
        _io_epoll.EpollIOManager.wait_readable,
        _io_epoll.EpollIOManager._epoll_wait,
    ]


def sample():
    tasks = trio_truth.snapshot()
    for task in tasks:
        busy_families.cut_to_compute(task)
    trio_truth.announce({"tasks": tasks})


trio_truth.end_with_stdin(lambda line: busy_families.asked.set())
busy_families.sleep = trio.sleep
busy_families.sample = sample
trio.run(main)
