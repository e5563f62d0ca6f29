"""A program whose code is ever new: functions that are made, run as one task each, and dropped.

usage: churning.py RATE LENGTH

RATE is how many tasks begin per second, LENGTH how many characters the names of their functions and files have.

Writes a line when it is ready. When standard input is closed it writes a line of JSON, its own account, and ends:
  made        tasks so far
  mean_tasks  tasks there were on average, from their making to their end, that of `main` included
"""

import asyncio
import json
import sys
import time

LIFETIME = 0.02
BATCH = 10
SOURCE = "async def {name}(work):\n    await work()\n"


class Account:
    def __init__(self):
        self.made = 0
        self.tasks = 1
        self.begun = self.last = time.monotonic()
        self.integral = 0.0

    def change(self, by):
        now = time.monotonic()
        self.integral += self.tasks * (now - self.last)
        self.last = now
        self.tasks += by

    def told(self):
        self.change(0)
        return {"made": self.made, "mean_tasks": self.integral / (self.last - self.begun)}


async def work():
    await asyncio.sleep(LIFETIME)


def new_function(number, length):
    name = f"made_{number}_".ljust(length, "n")
    names = {}
    exec(compile(SOURCE.format(name=name), f"/made/{name}.py", "exec"), names)
    return names[name]


async def main(rate, length):
    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, end.set)
    account = Account()
    print("ready", flush=True)
    while not end.is_set():
        for _ in range(BATCH):
            account.made += 1
            task = asyncio.ensure_future(new_function(account.made, length)(work))
            account.change(1)
            task.add_done_callback(lambda _: account.change(-1))
        await asyncio.sleep(BATCH / rate)
    print(json.dumps(account.told()), flush=True)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
