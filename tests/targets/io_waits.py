"""Tasks that wait for sockets, pipes and child processes of which each is known: it says for every task what awaitwhat has to say of its wait."""
import asyncio
import os
import socket
import ssl
import subprocess
import sys
import tempfile

import truth

# By the address of a task: what is known of its wait.
expected = {}
# What has to live as long as the target.
kept = []
# Facts of tasks that wait until their transports have sent enough.
draining = []
# Bytes that fit no socket's buffer, nor a transport's.
FLOOD = b"x" * (8 << 20)

# Of nobody's: made for this test.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNzM2t2AvbWgIq8Z9
rUIMvyB94CpvTf7SoU/67sZRBKChRANCAATNui1MNkww3YUO1CT4w0zaa9zBvNZo
s4Duj2DCSlqFLcDVg0GYB7CV72N0kr23y5oS04GoCTdKmOkAR2/LDt6S
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBijCCAS+gAwIBAgIUeJYQ5923WDk2DJ9URbROy96opfEwCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOYXdhaXR3aGF0LnRlc3QwIBcNMjYxMTI4MDAwMjQ3WhgPMjEy
NjExMDQwMDAyNDdaMBkxFzAVBgNVBAMMDmF3YWl0d2hhdC50ZXN0MFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEzbotTDZMMN2FDtQk+MNM2mvcwbzWaLOA7o9gwkpa
hS3A1YNBmAewle9jdJK9t8uaEtOBqAk3SpjpAEdvyw7ekqNTMFEwHQYDVR0OBBYE
FCA3bGgggnJetx3qQtr2WmroyUg1MB8GA1UdIwQYMBaAFCA3bGgggnJetx3qQtr2
WmroyUg1MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAPJdfayW
U0pN2bZaqS6C4yw2G6lDP+2ezYOkpGEvJAa1AiEAnW7uz8sXyVWkfJ62eUwzyflW
Jqhsz7NCDjqc6eCDowc=
-----END CERTIFICATE-----
"""


def start(name, coroutine, **facts):
    """A task, and what is to be told of what it waits for; more of it may be known later."""
    task = truth.create_task(coroutine, name)
    facts["name"] = name
    expected[hex(id(task))] = facts
    kept.append(task)
    return facts


def name_of(address):
    """An address as it is shown; None where there is none."""
    if isinstance(address, str):
        return address or None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ends(transport):
    """Both ends of a connection, and its descriptor."""
    own = transport.get_extra_info("socket")
    return {"fd": own.fileno(), "local": name_of(own.getsockname()), "peer": name_of(own.getpeername())}


async def connection(open_connection, start_server, **options):
    """Both sides of a connection: the client's reader and writer, and the server's."""
    accepted = asyncio.get_running_loop().create_future()
    server = await start_server(lambda reader, writer: accepted.set_result((reader, writer)), **options)
    address = server.sockets[0].getsockname()
    client = await open_connection(address)
    kept.extend([server, client])
    return client, await accepted, server


async def tcp(host, **options):
    async def open_connection(address):
        context = None
        if options:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection(*address[:2], ssl=context)

    def start_server(callback, **options):
        return asyncio.start_server(callback, host, 0, **options)

    return await connection(open_connection, start_server, **options)


async def streams():
    (reader, writer), (far_reader, far_writer), _ = await tcp("127.0.0.1")
    start("readline", reader.readline(), kind="stream", detail={"call": "readuntil", "buffered": 5}, **ends(writer.transport))
    far_writer.write(b"12345")
    while not reader._buffer:
        await asyncio.sleep(0.01)
    start("readexactly", far_reader.readexactly(9), kind="stream", detail={"call": "readexactly", "buffered": 0}, **ends(far_writer.transport))

    (reader, writer), (_, far_writer), _ = await tcp("127.0.0.1")
    # Nobody reads at the other end.
    far_writer.transport.pause_reading()
    writer.write(FLOOD)
    drain = start("drain", writer.drain(), kind="stream", operation="drain", **ends(writer.transport))
    draining.append((drain, writer.transport))


async def local_streams():
    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "socket")

    def start_server(callback):
        return asyncio.start_unix_server(callback, path)

    (reader, writer), (far_reader, far_writer), _ = await connection(asyncio.open_unix_connection, start_server)
    os.unlink(path)
    os.rmdir(folder)
    start("to_path", reader.read(), kind="stream", **ends(writer.transport))
    start("at_path", far_reader.read(), kind="stream", **ends(far_writer.transport))


async def other_streams():
    if socket.has_ipv6:
        try:
            (reader, writer), _, _ = await tcp("::1")
        except OSError:
            return
        start("ipv6", reader.read(), kind="stream", **ends(writer.transport))


async def encrypted():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(CERTIFICATE)
        file.flush()
        context.load_cert_chain(file.name)
    (reader, writer), (far_reader, far_writer), _ = await tcp("127.0.0.1", ssl=context)
    start("tls_client", reader.read(), kind="stream", **ends(writer.transport))
    start("tls_server", far_reader.read(), kind="stream", **ends(far_writer.transport))


def full_listener():
    """A socket that takes no more connections: the next one waits for it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    kept.append(listener)
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        kept.append(client)
    return listener.getsockname()


def sockets():
    loop = asyncio.get_running_loop()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    one, other = socket.socketpair()
    client = socket.socket()
    for it in (listener, one, other, client):
        it.setblocking(False)
    kept.extend([listener, one, other, client])
    start("sock_accept", loop.sock_accept(listener), kind="socket", operation="accept", fd=listener.fileno())
    start("sock_recv", loop.sock_recv(other, 10), kind="socket", operation="recv", fd=other.fileno())
    buffer = bytearray(10)
    start("sock_recv_into", loop.sock_recv_into(other.dup(), buffer), kind="socket", operation="recv_into")
    start("sock_sendall", loop.sock_sendall(other.dup(), FLOOD), kind="socket", operation="sendall")
    address = full_listener()
    start("sock_connect", loop.sock_connect(client, address), kind="connect", fd=client.fileno(), peer=name_of(address))
    start("open_connection", asyncio.open_connection("127.0.0.1", address[1]), kind="connect", peer=name_of(address))
    named = asyncio.open_connection("localhost", address[1], family=socket.AF_INET)
    start("by_name", named, kind="connect", peer=f"localhost:{address[1]}")


async def listener():
    (_, _), _, server = await tcp("127.0.0.1")
    start("listener", server.serve_forever(), kind="listener", fd=server.sockets[0].fileno(), size=1)


async def handshake():
    # It accepts, and says nothing.
    silent = await asyncio.start_server(lambda reader, writer: kept.append(writer), "127.0.0.1", 0)
    kept.append(silent)
    port = silent.sockets[0].getsockname()[1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    connecting = asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    start("handshake", connecting, kind="connect", operation="handshake", peer=f"127.0.0.1:{port}")


async def children():
    command = ["cat", "-"]
    shown = {"command": "cat -"}
    pipe = subprocess.PIPE
    read_end, write_end = os.pipe()
    kept.append(write_end)
    one = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    other = await asyncio.create_subprocess_exec(*command, stdin=read_end, stdout=pipe)
    os.close(read_end)
    kept.extend([one, other])
    output = one._transport.get_pipe_transport(1)
    start("wait", one.wait(), kind="process", operation="wait", pid=one.pid, **shown)
    start("child_output", one.stdout.readline(), kind="stream", fd=output._fileno)
    start("communicate", other.communicate(), kind="process", operation="communicate", pid=other.pid, **shown)
    return other


async def main():
    loop = asyncio.get_running_loop()
    await streams()
    await local_streams()
    await other_streams()
    await encrypted()
    sockets()
    await listener()
    await handshake()
    child = await children()
    loop.call_later(0.3, report, child)
    await truth.never()


def report(child):
    """Says what is to be told once nothing has happened for some time."""
    for facts, transport in draining:
        facts["detail"] = {"unsent": transport.get_write_buffer_size()}
    ours = {int(address, 16) for address in expected}
    for task in truth.all_tasks(asyncio.get_running_loop()):
        # One of those that `communicate` waits for.
        code = getattr(truth.coroutine_of(task), "cr_code", None)
        if id(task) not in ours and code is not None and code.co_name == "_read_stream":
            output = child._transport.get_pipe_transport(1)
            expected[hex(id(task))] = {"kind": "pipe", "fd": output._fileno, "pid": child.pid}
    truth.announce({"expected": expected})


truth.run_loop(main)
