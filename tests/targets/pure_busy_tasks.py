"""The tasks of `busy_tasks.py` without the `_asyncio` module: every task and future is written in Python."""

import sys

sys.modules["_asyncio"] = None

import busy_tasks  # It runs them.
