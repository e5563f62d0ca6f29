"""Tasks that rest while another thread maps and unmaps memory without a pause."""
import asyncio
import ctypes
import threading

import truth

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
# PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS.
PROTECTION, FLAGS, SIZE = 3, 0x22, 1 << 20


def changes():
    while True:
        libc.munmap(libc.mmap(None, SIZE, PROTECTION, FLAGS, -1, 0), SIZE)


async def worker():
    await truth.never()


async def main():
    tasks = [truth.create_task(worker(), f"worker {number}") for number in range(100)]
    threading.Thread(target=changes, daemon=True).start()
    await asyncio.gather(*tasks)


truth.run(main, edges=[("main", "worker")])
