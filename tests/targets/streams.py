"""A server and its clients over TCP: accepting, reading, and draining."""
import asyncio

import truth

connected = []


async def serve(reader, writer):
    connected.append(writer)
    await reader.readexactly(1000)


async def client(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connected.append(writer)
    await reader.readline()


async def accepts(server):
    async with server:
        await server.serve_forever()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(accepts(server), client(port), client(port))


truth.run(main, edges=[("main", "accepts"), ("main", "client")], ready=lambda: len(connected) == 4)
