"""A file system (FUSE) with one file `program`, a copy of another. `slow_files.py FOLDER ORIGINAL`

Lines of standard input: `hold`, and the kernel forgets the file's pages and gets no more of them; `answer`, and it gets them again. It is gone with
standard input. Protocol: `include/uapi/linux/fuse.h`.
"""
import ctypes
import errno
import json
import os
import select
import stat
import struct
import sys

ROOT, FILE = 1, 2
LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 26, 27, 36, 42
NO_REPLY = {FORGET, INTERRUPT, BATCH_FORGET}
NOTIFY_INVAL_INODE = 2
MNT_DETACH = 2
VALID_SECONDS = 3600

folder, original = sys.argv[1:]
content = open(original, "rb").read()
libc = ctypes.CDLL(None, use_errno=True)
device = os.open("/dev/fuse", os.O_RDWR)
is_held, waiting = False, []


def attributes(node):
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o755
    size = 0 if node == ROOT else len(content)
    return struct.pack("<6Q10I", node, size, size // 512 + 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def reply(unique, data=b"", error=0):
    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


def answer_read(unique, body):
    offset, size = struct.unpack_from("<QI", body, 8)
    reply(unique, content[offset : offset + size])


def take(request):
    _, operation, unique, node = struct.unpack_from("<IIQQ", request)
    body = request[40:]
    if operation in NO_REPLY:
        return
    if operation == INIT:
        reply(unique, struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0, *[0] * 8))
    elif operation == LOOKUP and body.rstrip(b"\0") == b"program":
        reply(unique, struct.pack("<4Q2I", FILE, 0, VALID_SECONDS, VALID_SECONDS, 0, 0) + attributes(FILE))
    elif operation == LOOKUP:
        reply(unique, error=errno.ENOENT)
    elif operation == GETATTR:
        reply(unique, struct.pack("<Q2I", VALID_SECONDS, 0, 0) + attributes(node))
    elif operation in (OPEN, OPENDIR):
        reply(unique, struct.pack("<Q2I", 0, 0, 0))
    elif operation == READ and is_held:
        waiting.append((unique, body))
    elif operation == READ:
        answer_read(unique, body)
    else:
        reply(unique, error=errno.ENOSYS)


def obey(line):
    global is_held
    is_held = line == "hold"
    if is_held:
        os.write(device, struct.pack("<IiQQqq", 40, NOTIFY_INVAL_INODE, 0, FILE, 0, 0))
    while waiting and not is_held:
        answer_read(*waiting.pop())
    print(json.dumps({"held": is_held}), flush=True)


options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"slow", folder.encode(), b"fuse", 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
try:
    print(json.dumps({"pid": os.getpid()}), flush=True)
    while True:
        for ready in select.select([device, 0], [], [])[0]:
            if ready == device:
                take(os.read(device, 1 << 18))
                continue
            line = os.read(0, 100)
            if not line:
                sys.exit()
            obey(line.decode().strip())
finally:
    libc.umount2(folder.encode(), MNT_DETACH)
