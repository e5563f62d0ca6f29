"""run_in_executor and to_thread, with jobs that block in their threads."""
import asyncio
import threading

import truth

started = threading.Semaphore(0)


def job():
    started.release()
    threading.Event().wait()


async def in_executor():
    await asyncio.get_running_loop().run_in_executor(None, job)


async def in_thread():
    await asyncio.to_thread(job)


async def main():
    await asyncio.gather(in_executor(), in_thread())


truth.run(main, edges=[("main", "in_executor"), ("main", "in_thread")], ready=lambda: started._value == 2)
