"""Tasks of a process that has its memory put into swap space when it is asked to, and much besides that has nothing to do with them."""
import asyncio
import ctypes
import re

import truth

# `asm-generic/mman-common.h`
MADV_PAGEOUT = 21
BALLAST = bytearray(b"\x01" * (32 << 20))

libc = ctypes.CDLL(None, use_errno=True)


def page_out(line):
    """Has the kernel put all anonymous memory into swap space, which brings nothing back but what this function itself needs."""
    with open("/proc/self/maps") as file:
        ranges = re.findall(r"^(\w+)-(\w+) rw-p \w+ 00:00 0 ", file.read(), re.MULTILINE)
    for start, end in ranges:
        start, end = int(start, 16), int(end, 16)
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_PAGEOUT)
    truth.announce({})


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(*[truth.create_task(worker(), f"worker {number}") for number in range(200)])


end_with_stdin = truth.end_with_stdin
truth.end_with_stdin = lambda answer=None: end_with_stdin(page_out)
truth.run(main, edges=[("main", "worker")])
