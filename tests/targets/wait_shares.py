"""Tasks that wait for several things at one line of code: which is told by no chain, but only by the things themselves.

Each client asks a near server and a far one by turns, over connections of its own. Guests take turns behind two locks, which one function is given. The first argument is the share of a core that they are to use, in percent. On the line `report` the program prints how long its
tasks have waited for what so far.
"""

import asyncio
import random
import socket
import sys

import pacing
import truth

CLIENTS, GUESTS = 30, 12
# How long the servers take to answer, in seconds.
ANSWERS = {"near": (0.02, 0.08), "far": (0.1, 0.25)}
# Below what the system chooses from where nobody says which port is wanted.
PORTS = range(20_000, 32_000)


def listening():
    """A socket that listens at a port of the well-known ones."""
    for port in random.sample(PORTS, 100):
        server = socket.socket()
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            server.close()
            continue
        server.listen(CLIENTS)
        return server
    raise OSError("no port is free")


class Program:
    def __init__(self, load):
        self.load = load
        self.peers = {}
        self.front, self.back = asyncio.Lock(), asyncio.Lock()
        self.rounds = 0

    async def serve(self, name, reader, writer):
        low, high = ANSWERS[name]
        while await reader.readline():
            await asyncio.sleep(random.uniform(low, high))
            writer.write(b"answer\n")

    async def open(self, name):
        server = listening()
        self.peers[name] = "%s:%d" % server.getsockname()

        async def serve(reader, writer):
            await self.serve(name, reader, writer)

        await asyncio.start_server(serve, sock=server)

    async def client(self):
        connections = {}
        for name, address in self.peers.items():
            host, port = address.split(":")
            connections[name] = await asyncio.open_connection(host, int(port))
        while True:
            for name, (reader, writer) in connections.items():
                writer.write(b"question\n")
                self.load.step()
                await self.ask(name, reader)
                self.rounds += 1

    async def ask(self, name, reader):
        with pacing.Wait(name):
            await reader.readline()

    async def guest(self, number):
        while True:
            if number % 3:
                await self.enter("front", self.front, 0.02)
            else:
                await self.enter("back", self.back, 0.05)

    async def enter(self, name, gate, seconds):
        wait = pacing.Wait(name)
        wait.__enter__()
        async with gate:
            wait.__exit__()
            await asyncio.sleep(seconds)

    def report(self):
        names = [*ANSWERS, "front", "back"]
        seconds = dict(zip(names, pacing.seconds_so_far(names)))
        truth.announce({"peers": self.peers, "seconds": seconds})


def control(loop, load):
    load.control()
    loop.call_later(pacing.CONTROL_SECONDS, control, loop, load)


async def main():
    loop = asyncio.get_running_loop()
    program = Program(pacing.Load(float(sys.argv[1]) / 100))
    for name in ANSWERS:
        await program.open(name)
    truth.end_with_stdin(lambda line: loop.call_soon_threadsafe(program.report))
    control(loop, program.load)
    clients = [loop.create_task(program.client()) for _ in range(CLIENTS)]
    guests = [loop.create_task(program.guest(number)) for number in range(GUESTS)]
    while program.rounds < 4 * CLIENTS:
        await asyncio.sleep(0.05)
    program.report()
    await asyncio.gather(*clients, *guests)


asyncio.run(main())
