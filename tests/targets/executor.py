"""run_in_executor and to_thread (since 3.9), with jobs that block in their threads."""
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


MEMBERS = [in_executor, in_thread] if hasattr(asyncio, "to_thread") else [in_executor]


async def main():
    await asyncio.gather(*[member() for member in MEMBERS])


EDGES = [("main", member.__name__) for member in MEMBERS]
truth.run(main, edges=EDGES, ready=lambda: started._value == len(MEMBERS))
