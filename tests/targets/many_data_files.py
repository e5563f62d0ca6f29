"""Maps as many files of data as its argument says, half of them privately, as workers' shared memory and arrays on disks are."""
import asyncio
import mmap
import os
import sys
import tempfile

import truth

SIZE = 4096
kept = []


def keep(number, folder):
    path = os.path.join(folder, str(number))
    with open(path, "w+b") as file:
        file.truncate(SIZE)
        access = mmap.ACCESS_COPY if number % 2 else mmap.ACCESS_WRITE
        kept.append(mmap.mmap(file.fileno(), SIZE, access=access))
    os.unlink(path)


async def worker():
    await truth.never()


async def main():
    task = asyncio.ensure_future(worker())
    await asyncio.sleep(0)
    truth.announce({"pid": os.getpid()})
    await task


with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
    for number in range(int(sys.argv[1])):
        keep(number, folder)
truth.end_with_stdin()
asyncio.run(main())
