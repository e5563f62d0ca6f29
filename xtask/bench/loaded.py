"""A program that has loaded a lot: modules of its own, and shared objects, as many of each as asked for.

usage: loaded.py COUNT

Writes one line of JSON to standard output when its tasks sleep, and ends when standard input is closed.
"""

import asyncio
import ctypes
import importlib
import json
import os
import shutil
import sys
import tempfile

import _ctypes

MODULE = """
import asyncio

LIMITS = {{"number": {number}}}

class Service{number}:
    def __init__(self):
        self.limits = LIMITS

    async def serve(self):
        await asyncio.sleep(86_400)
"""


def load(count):
    """Imports modules and loads copies of a shared object; what they were loaded from is gone afterwards."""
    modules = []
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        for number in range(count):
            with open(os.path.join(folder, f"service{number}.py"), "w") as file:
                file.write(MODULE.format(number=number))
            importlib.invalidate_caches()
            modules.append(importlib.import_module(f"service{number}"))
            copy = shutil.copy(_ctypes.__file__, os.path.join(folder, f"library{number}.so"))
            ctypes.CDLL(copy)
    return modules


async def main(count):
    loop = asyncio.get_running_loop()
    modules = load(count)
    services = [getattr(module, f"Service{number}")() for number, module in enumerate(modules)]
    tasks = [loop.create_task(service.serve()) for service in services[:100]]
    # All of them have begun when this one goes on.
    await asyncio.sleep(0)
    closed = loop.create_future()
    loop.add_reader(sys.stdin, closed.set_result, None)
    print(json.dumps({"ready": True, "tasks": len(tasks) + 1}), flush=True)
    await closed
    os._exit(0)


asyncio.new_event_loop().run_until_complete(main(int(sys.argv[1])))
