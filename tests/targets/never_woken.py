"""A loop that sleeps, and a thread that makes tasks of it ready, in the way that the argument says.

`future` sets what three tasks wait for, and `task` makes three, without waking the loop: no thread but the loop's own may do so. `threadsafe` does
as `future`, by the call that wakes it.
"""

import asyncio
import json
import os
import sys
import threading

import truth

TASKS = 3

truth.end_with_stdin()
manner = sys.argv[1]
loop = asyncio.new_event_loop()
future = loop.create_future()
has_gone_on = threading.Event()
made = []


async def waits():
    await future
    has_gone_on.set()
    await loop.create_future()


async def main():
    made.extend(loop.create_task(waits()) for _ in range(TASKS))
    await loop.create_future()


def is_polling():
    """Whether the loop has looked what it has to do, and is in `select`."""
    frame = sys._current_frames()[threading.main_thread().ident]
    return frame.f_code.co_name == "select" and len(made) == TASKS


def disturb():
    while not is_polling():
        pass
    if manner == "future":
        future.set_result(None)
    elif manner == "task":
        made.extend(loop.create_task(waits()) for _ in range(TASKS))
    else:
        loop.call_soon_threadsafe(future.set_result, None)
        has_gone_on.wait()
        while not is_polling():
            pass
    print(json.dumps({"pid": os.getpid(), "ready": 0 if manner == "threadsafe" else TASKS}), flush=True)


asyncio.set_event_loop(loop)
threading.Thread(target=disturb, daemon=True).start()
loop.run_until_complete(main())
