"""The tasks of `busy_tasks.py` without the `_asyncio` module: every task and future is written in Python.

Every second task has a dict of its own, whose keys it shares with no other one.
"""

import itertools
import sys

sys.modules["_asyncio"] = None

import truth

create_task = truth.create_task
numbers = itertools.count()


def create_task_with_own_dict(coroutine, name):
    task = create_task(coroutine, name)
    if next(numbers) % 2:
        task.__dict__ = dict(vars(task))
    return task


truth.create_task = create_task_with_own_dict

import busy_tasks  # It runs them.
