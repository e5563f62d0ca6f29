"""Loops whose threads have ended, while their tasks were pending."""
import asyncio
import threading

import truth

LOOPS = 3


async def worker():
    await truth.never()


async def main(number):
    kept.append(truth.create_task(worker(), f"left behind {number}"))
    await asyncio.sleep(0)


def run(number):
    loop = asyncio.new_event_loop()
    kept.append(loop)
    loop.run_until_complete(main(number))
    truth.leave_loop(loop)


kept = []
truth.end_with_stdin()
for number in range(LOOPS):
    thread = threading.Thread(target=run, args=(number,))
    thread.start()
    thread.join()
truth.report()
threading.Event().wait()
