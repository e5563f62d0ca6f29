"""Sub-interpreters of their own (3.12 and later), and how what they know gets out of them."""

import json
import pathlib
import sys
import threading

try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

# Begins every program: the truth about an interpreter's tasks goes through a pipe, as nothing else is shared.
_BEGINNING = """
import sys
sys.path.insert(0, {folder!r})
import asyncio, json, os
import truth

def announce(answer):
    os.write({pipe}, json.dumps(answer["tasks"]).encode() + b"\\n")

truth.announce = announce
truth.end_with_stdin = lambda answer=None: None
"""


# What each thread runs outside of its sub-interpreter, by the thread's identity.
frames = {}


def run(program, pipe, is_isolated=True):
    """Runs a program that does not end, in a new interpreter, with a GIL of its own where it is isolated. It calls `truth.run`."""
    beginning = _BEGINNING.format(folder=str(pathlib.Path(__file__).parent), pipe=pipe)
    frames[threading.get_ident()] = sys._getframe()
    failure = _interpreters.run_string(_create(is_isolated), beginning + program)
    raise SystemExit(f"an interpreter ended: {failure}")


def tasks(lines):
    """What the next interpreter that is ready tells of its tasks."""
    return json.loads(lines.readline())


def _create(is_isolated):
    if hasattr(_interpreters, "new_config"):
        return _interpreters.create("isolated" if is_isolated else "legacy")
    return _interpreters.create(isolated=is_isolated)
