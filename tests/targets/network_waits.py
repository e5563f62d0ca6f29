"""As `named_waits.py`, of what clients and servers of HTTP wait for: the argument names the library, and a second one the event loop."""
import asyncio
import ctypes
import socket
import sys
import threading

import truth

# By the address of a task: what is known of its wait.
expected = {}
# What has to live as long as the target.
kept = []
# What nobody may be shown.
SECRET = "hunter2"


def start(coroutine, **facts):
    """A task, and what is to be told of what it waits for; more of it may be known later."""
    task = asyncio.get_running_loop().create_task(coroutine)
    expected[hex(id(task))] = facts
    kept.append(task)
    return task


def name_of(address):
    return f"{address[0]}:{address[1]}"


def ends(transport):
    """Both ends of a connection, and its descriptor."""
    own = transport.get_extra_info("socket")
    return {"fd": own.fileno(), "local": name_of(own.getsockname()), "peer": name_of(own.getpeername())}


async def until(condition, sleep=asyncio.sleep):
    while not condition():
        await sleep(0.01)


def in_order(tasks):
    return [hex(address) for address in sorted(map(id, tasks))]


async def never_answers(requests):
    """A server that takes note of the far end of each request by its path, and answers none; of `/body` it sends a part. Returns its port."""

    async def handle(reader, writer):
        kept.append(writer)
        line = await reader.readline()
        while (await reader.readline()).strip():
            pass
        path = line.split()[1].decode().partition("?")[0]
        if path.startswith("/body"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
        requests[path] = name_of(writer.get_extra_info("peername"))
        await truth.never()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    kept.append(server)
    return server.sockets[0].getsockname()[1]


async def of_aiohttp():
    import aiohttp

    requests = {}
    port = await never_answers(requests)
    origin = f"http://127.0.0.1:{port}"

    async def in_block(session, path):
        async with session.get(f"{origin}{path}?token={SECRET}") as response:
            await response.read()

    async def without_block(session, path):
        response = await session.post(f"http://me:{SECRET}@127.0.0.1:{port}{path}", data=b"x")
        await response.read()

    async def in_block_only(session, path):
        async with session.get(f"{origin}{path}"):
            await asyncio.Event().wait()

    used_up = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
    other = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2))
    kept.extend([used_up, other])
    clients = {
        "/block": start(in_block(used_up, "/block"), kind="request", operation="response", method="GET", url=f"{origin}/block"),
        "/plain": start(without_block(used_up, "/plain"), kind="request", operation="response", method="POST", url=f"{origin}/plain"),
        "/body": start(in_block(other, "/body"), kind="request", operation="read", method="GET", url=f"{origin}/body", detail={"status": 200, "received": 5}),
        "/body/kept": start(in_block_only(other, "/body/kept"), kind="event"),
    }
    await until(lambda: len(requests) == len(clients))
    for session, paths in [(used_up, ["/block", "/plain"]), (other, ["/body", "/body/kept"])]:
        users = in_order(clients[path] for path in paths)
        of_pool = {"kind": "pool", "operation": "acquire", "size": 2, "limit": 2, "holders": users, "holder_known": True}
        # The first releases do not say who else waits.
        if aiohttp.__version__ >= "3.9":
            of_pool["waiters"] = 3
        for _ in range(3):
            start(in_block(session, "/late"), peer=f"127.0.0.1:{port}", type="TCPConnector", id=hex(id(session.connector)), **of_pool)
    add_ends(clients, requests, (protocol.transport for session in (used_up, other) for protocol in session.connector._acquired))
    await aiohttp_server()


def add_ends(clients, requests, transports):
    """Says over which connection each client has sent its request, as the server knows it."""
    by_address = {ends(transport)["local"]: ends(transport) for transport in transports}
    for path, task in clients.items():
        facts = expected[hex(id(task))]
        if facts["kind"] == "request":
            facts.update(by_address[requests[path]])


async def aiohttp_server():
    """A server with a client that asks for nothing any more, and one whose request is handled."""
    import aiohttp
    from aiohttp import web

    handling = []

    async def handle(request):
        if request.path == "/slow":
            handling.append(request)
            await truth.never()
        return web.Response(text="done")

    application = web.Application()
    application.router.add_get("/{path}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    session = aiohttp.ClientSession()
    kept.extend([runner, site, session])
    port = site._server.sockets[0].getsockname()[1]

    async def get(path):
        async with session.get(f"http://127.0.0.1:{port}{path}") as response:
            await response.read()

    await get("/quick")
    slow = aiohttp.ClientSession()
    kept.append(slow)
    kept.append(asyncio.get_running_loop().create_task(slow.get(f"http://127.0.0.1:{port}/slow")._coro))
    await until(lambda: handling)
    for handler in runner.server.connections:
        is_idle = handler._waiter is not None
        facts = {"kind": "request", "operation": "accept", **ends(handler.transport)} if is_idle else {}
        expected[hex(id(handler._task_handler))] = facts


async def of_httpx():
    import httpx

    requests = {}
    port = await never_answers(requests)
    origin = f"http://127.0.0.1:{port}"
    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=2), timeout=None, trust_env=False)
    kept.append(client)

    async def get(path):
        await client.get(f"http://me:{SECRET}@127.0.0.1:{port}{path}?token={SECRET}")

    tasks = {
        "/first": start(get("/first"), kind="request", operation="response", method="GET", url=f"{origin}/first"),
        "/body": start(get("/body"), kind="request", operation="read", method="GET", url=f"{origin}/body"),
    }
    await until(lambda: len(requests) == len(tasks))
    pool = client._transport._pool
    users = in_order(tasks.values())
    for _ in range(3):
        of_pool = {"kind": "pool", "id": hex(id(pool)), "size": 2, "limit": 2, "holders": users, "holder_known": True}
        start(get("/late"), operation="acquire", method="GET", url=f"{origin}/late", detail={"requests": 5}, **of_pool)

    streams = [connection._connection._network_stream._stream for connection in pool.connections]
    add_ends(tasks, requests, (stream._transport for stream in streams))


def httpx_on_trio():
    """The same on trio, whose sockets are its own; the server has a thread per connection."""
    import httpx
    import trio
    import trio.testing

    requests = {}
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    origin = f"http://127.0.0.1:{port}"

    def serve():
        while True:
            connection, address = listener.accept()
            kept.append(connection)
            path = connection.makefile("rb").readline().split()[1].decode()
            if path == "/body":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345")
            requests[path.partition("?")[0]] = name_of(address)

    threading.Thread(target=serve, daemon=True).start()

    async def main():
        client = httpx.AsyncClient(limits=httpx.Limits(max_connections=2), timeout=None, trust_env=False)

        async def get(path, facts):
            expected[hex(id(trio.lowlevel.current_task()))] = facts
            await client.get(f"{origin}{path}?token={SECRET}" if path != "/body" else f"{origin}{path}")

        async with trio.open_nursery() as nursery:

            def begin(path, **facts):
                facts.update(method="GET", url=f"{origin}{path}")
                nursery.start_soon(get, path, facts)
                return facts

            tasks = {path: begin(path, kind="request", operation=operation) for path, operation in [("/first", "response"), ("/body", "read")]}
            await until(lambda: len(requests) == len(tasks), trio.sleep)
            users = sorted(expected, key=lambda task: int(task, 16))
            pool = client._transport._pool
            of_pool = {"kind": "pool", "size": 2, "limit": 2, "holders": users, "holder_known": True}
            for _ in range(3):
                begin("/late", id=hex(id(pool)), operation="acquire", detail={"requests": 5}, **of_pool)
            sockets = [connection._connection._network_stream._stream.socket for connection in pool.connections]
            for own in sockets:
                facts = {"fd": own.fileno(), "local": name_of(own.getsockname()), "peer": name_of(own.getpeername())}
                for path, address in requests.items():
                    if address == facts["local"]:
                        tasks[path].update(facts)
            idle, other = trio.socket.socketpair()
            kept.extend([idle, other])

            async def recv():
                expected[hex(id(trio.lowlevel.current_task()))] = {"kind": "socket", "operation": "wait_readable", "fd": idle.fileno()}
                await idle.recv(1)

            nursery.start_soon(recv)
            await trio.testing.wait_all_tasks_blocked(0.05)
            truth.announce({"expected": expected})
            await trio.sleep_forever()

    truth.end_with_stdin()
    trio.run(main)


async def of_websockets():
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    accepted = []

    async def handle(connection):
        accepted.append((asyncio.current_task(), connection))
        async for _ in connection:
            pass

    def facts_of(connection):
        return {"kind": "channel", "operation": "recv", "id": hex(id(connection)), "detail": {"frames": 0}, **ends(connection.transport)}

    server = await serve(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await connect(f"ws://127.0.0.1:{port}/")
    kept.extend([server, client])
    start(client.recv(), **facts_of(client))
    await until(lambda: accepted)
    ((task, connection),) = accepted
    kept.append(task)
    expected[hex(id(task))] = facts_of(connection)


async def of_uvloop():
    """What uvloop keeps where Python does not see it: timers, and descriptors of transports."""
    sleeper = asyncio.get_running_loop().create_task(asyncio.sleep(300))
    kept.append(sleeper)
    # As the loop itself, to which the timer does not say when it is due before a turn is over.
    await asyncio.sleep(0.01)
    timer = truth.coroutine_of(sleeper).cr_frame.f_locals["h"]
    expected[hex(id(sleeper))] = {"kind": "timer", "operation": "sleep", "deadline": timer.when()}

    accepted = []
    server = await asyncio.start_server(lambda *streams: accepted.append(streams), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: accepted)
    kept.extend([server, writer, accepted])
    for reader, writer in [(reader, writer), *accepted]:
        start(reader.read(), kind="stream", operation="read", **ends(writer.transport))


async def listener():
    """A server that asyncio's own loop tells the descriptor of, and the kernel the address."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    kept.append(server)
    own = server.sockets[0]
    start(server.serve_forever(), kind="listener", fd=own.fileno(), local=name_of(own.getsockname()))


def give_up_capabilities():
    """The kernel shows a process's descriptors to no one who has fewer capabilities than it (ptrace(2))."""
    version_3 = ctypes.c_uint32 * 2
    nothing = ctypes.c_uint32 * 6
    assert ctypes.CDLL(None).capset(version_3(0x20080522, 0), nothing()) == 0


async def main():
    await {"aiohttp": of_aiohttp, "httpx": of_httpx, "websockets": of_websockets}[sys.argv[1]]()
    if loop_factory is not None:
        await of_uvloop()
    else:
        await listener()
    await until_parked()
    truth.announce({"expected": expected})
    await truth.never()


async def until_parked():
    """Until two looks have found all tasks waiting for the same."""
    before = None
    while True:
        waiting = [task._fut_waiter for task in kept if isinstance(task, asyncio.Task)]
        if None not in waiting and waiting == before:
            return
        before = waiting
        await asyncio.sleep(truth.SETTLING_SECONDS)


give_up_capabilities()
loop_factory = None
if sys.argv[2:] == ["uvloop"]:
    import uvloop

    loop_factory = uvloop.new_event_loop
if sys.argv[1:] == ["httpx", "trio"]:
    httpx_on_trio()
else:
    truth.run_loop(main, loop_factory=loop_factory)
