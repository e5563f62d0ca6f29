"""A FastAPI application in uvicorn; the argument is the event loop (`asyncio`, `uvloop`). Or, imported, that of a server's workers.

It announces its port; each worker announces its process. On the line `warm up` it begins to note every step that its loop
takes; on `grammar` it ends that and tells. On the line `report N` it tells the
truth once N requests are parked.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading

import truth
import uvicorn
from fastapi import FastAPI

parked = []
kept = []


async def query():
    await truth.never()


async def fans_out(number):
    truth.name_task(asyncio.current_task(), f"fan-out {number}")
    await asyncio.gather(query(), query())


@contextlib.asynccontextmanager
async def lifespan(app):
    truth.enter_loop(asyncio.get_running_loop())
    app.lock = asyncio.Lock()
    await app.lock.acquire()
    if is_worker():
        truth.announce({})
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/lock")
async def at_lock():
    parked.append("lock")
    async with app.lock:
        return "never"


@app.get("/fan/{number}")
async def fan(number: int):
    parked.append("fan")
    await fans_out(number)


@app.get("/thread")
def blocks():
    parked.append("thread")
    threading.Event().wait()


@app.get("/work")
async def work():
    await asyncio.sleep(0.05)  # point: work
    return "done"


def is_worker():
    return __name__ != "__main__"


class Calls:
    """Every step that the loop's thread takes: who calls or resumes whom at which line, and at which line that one then is."""

    def __init__(self):
        # (function, file, line, function).
        self.steps = set()
        # (function, file, line): where a function begins, or goes on without resuming another one.
        self.rests = set()
        # What is called by other than coroutines.
        self.roots = set()
        # What was called or resumed last.
        self.last = None

    def note(self, frame, event, argument):
        entry, caller = truth.frame_entry(frame), None
        if event == "call" and frame.f_back is not None:
            caller = truth.frame_entry(frame.f_back)
            self.add(entry, caller)
        if self.last is not None and (caller is None or place(caller) != place(self.last) or entry["kind"] == "function"):
            self.rests.add(place(self.last))
        self.last = entry if event == "call" else None

    def add(self, entry, caller):
        if caller is None or caller["kind"] == "function":
            self.roots.add(entry["function"])
        if caller is not None:
            self.steps.add((*place(caller), entry["function"]))

    def add_tasks(self):
        """Some tasks never move."""
        for task in truth.snapshot(truth.Edges())["tasks"]:
            self.rests.add(place(task["stack"][0]))
            for entry, caller in zip(task["stack"], task["stack"][1:] + [None]):
                self.add(entry, caller)


def place(entry):
    return entry["function"], entry["file"], entry["line"]


def obey(line):
    """Answers a line of standard input, in a thread of its own."""
    word, _, number = line.partition(" ")
    if word == "warm":
        calls = Calls()
        kept.append(calls)
        on_loop(lambda: sys.setprofile(calls.note))
        truth.announce({})
    elif word == "grammar":
        calls = kept[-1]
        on_loop(lambda: (sys.setprofile(None), calls.add_tasks()))
        truth.announce({"steps": sorted(calls.steps), "rests": sorted(calls.rests), "roots": sorted(calls.roots)})
    else:
        truth.report_from_thread(lambda: len(parked) == int(number), observe=True)


def on_loop(callback):
    """Calls it in the loop's thread, and waits until it has."""
    done = threading.Event()
    (loop,) = truth.loops()
    loop.call_soon_threadsafe(lambda: (callback(), done.set()))
    done.wait()


def announce_when_started(server, port):
    while not server.started:
        threading.Event().wait(truth.SETTLING_SECONDS)
    truth.announce({"port": port})


def main():
    options = {"loop": sys.argv[1], "http": "h11", "access_log": False, "log_level": "warning"}
    # The address is known before the server runs.
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    truth.end_with_stdin(obey)
    server = uvicorn.Server(uvicorn.Config(app, **options))
    port = listener.getsockname()[1]
    threading.Thread(target=announce_when_started, args=(server, port), daemon=True).start()
    server.run(sockets=[listener])


if is_worker():
    # Workers end with their parent.
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
else:
    main()
