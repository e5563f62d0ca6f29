"""Says that it is of another version of CPython: `pretends.py HEX`, as PY_VERSION_HEX has it. Nothing else of it changes."""
import asyncio
import ctypes
import mmap
import sys
import threading

import truth

COOKIE = b"xdebugpy"
PROTECTIONS = mmap.PROT_READ | mmap.PROT_WRITE


def write(address, value):
    page = address & ~(mmap.PAGESIZE - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    if libc.mprotect(page, mmap.PAGESIZE, PROTECTIONS) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.c_uint64.from_address(address).value = value


def address_of(symbol):
    return ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, symbol))


version = int(sys.argv[1], 16)
write(address_of("Py_Version"), version)
# What it publishes about itself begins with a cookie and the version.
runtime = address_of("_PyRuntime")
if ctypes.string_at(runtime, len(COOKIE)) == COOKIE:
    ctypes.c_uint64.from_address(runtime + len(COOKIE)).value = version

truth.end_with_stdin()
assert asyncio
truth.report()
threading.Event().wait()
