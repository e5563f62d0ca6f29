"""A FastAPI application in uvicorn, whose synchronous endpoint is asked for more often than anyio has threads for: the argument says how often.

It says of every task that waits for a thread what awaitwhat has to say of it, once no more can begin.
"""

import asyncio
import sys
import threading

import truth
import uvicorn
from fastapi import FastAPI

LIMIT = 40
begun = []
kept = []
never = threading.Event()
app = FastAPI()


@app.get("/")
def blocks():
    begun.append((threading.current_thread().name, truth.native_id()))
    never.wait()


class RestingServer(uvicorn.Server):
    """A server whose loop rests: uvicorn's wakes up ten times a second to see whether it is to end."""

    async def main_loop(self):
        await truth.never()


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.read()


def functions(task):
    """The names of the functions that a task waits in, the innermost last."""
    names = []
    awaitable = truth.coroutine_of(task)
    while hasattr(awaitable, "cr_frame"):
        names.append(awaitable.cr_code.co_name)
        awaitable = awaitable.cr_await
    return names


def waiting():
    """What is known of the tasks that wait for a thread: those for whom one works, and those that wait for the limiter."""
    served, queued = {}, {}
    for task in asyncio.all_tasks():
        names = functions(task)
        if "acquire_on_behalf_of" in names:
            queued[hex(id(task))] = {"kind": "semaphore", "type": "CapacityLimiter", "size": LIMIT, "limit": LIMIT}
        elif "run_sync_in_worker_thread" in names:
            served[hex(id(task))] = {"kind": "thread"}
    return served, queued


async def main():
    count = int(sys.argv[1])
    server = RestingServer(uvicorn.Config(app, port=0, http="h11", access_log=False, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(truth.SETTLING_SECONDS)
    port = server.servers[0].sockets[0].getsockname()[1]
    kept.extend(asyncio.create_task(ask(port)) for _ in range(count))
    while True:
        served, queued = waiting()
        if len(begun) == len(served) == LIMIT and len(queued) == count - LIMIT:
            break
        await asyncio.sleep(truth.SETTLING_SECONDS)
    holders = [hex(address) for address in sorted(int(task, 16) for task in served)]
    for facts in queued.values():
        facts.update(waiters=len(queued), holders=holders, holder_known=True)
    truth.announce({"expected": {**served, **queued}, "threads": sorted(begun)})
    await serving


truth.run_loop(main)
