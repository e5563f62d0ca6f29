"""Tasks whose code is ever new: functions that are made, run as one task each, and dropped. The name of a function is that of its file.

On the line `report` it prints how many tasks there were: the integral over time, and the time.
"""

import asyncio
import time

import truth

LIFETIME = 0.1
PAUSE = 0.01
SOURCE = "async def {name}(work):\n    await work()\n"


class Account:
    def __init__(self):
        self.made = 0
        # `main` is one.
        self.tasks = 1
        self.integral = 0.0
        self.at = time.monotonic()

    def change(self, by):
        now = time.monotonic()
        self.integral += self.tasks * (now - self.at)
        self.at = now
        self.tasks += by

    def report(self):
        self.change(0)
        truth.announce({"at": self.at, "integral": self.integral})


async def work():
    await asyncio.sleep(LIFETIME)


def made(number):
    name = "made_{}".format(number)
    names = {}
    exec(compile(SOURCE.format(name=name), "/made/{}.py".format(name), "exec"), names)
    return names[name]


async def main():
    loop = asyncio.get_running_loop()
    account = Account()
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(account.report))
    loop.call_later(2 * LIFETIME, account.report)
    while True:
        account.made += 1
        task = asyncio.ensure_future(made(account.made)(work))
        account.change(1)
        task.add_done_callback(lambda _: account.change(-1))
        await asyncio.sleep(PAUSE)


asyncio.run(main())
