"""A program whose interpreter has no symbols in memory, as one that is linked statically and exports none.

The image that has the interpreter is made unrecognisable, which nobody notices who is in it already.
"""
# needs: 3.13
import asyncio
import ctypes

import truth


class SymbolInfo(ctypes.Structure):
    """`Dl_info` of dlfcn.h."""

    _fields_ = [
        ("file_name", ctypes.c_char_p),
        ("file_base", ctypes.c_void_p),
        ("symbol_name", ctypes.c_char_p),
        ("symbol_address", ctypes.c_void_p),
    ]


def hide_image():
    """Overwrites the first bytes of the interpreter's image."""
    own = ctypes.CDLL(None, use_errno=True)
    info = SymbolInfo()
    inside = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p)
    if own.dladdr(inside, ctypes.byref(info)) == 0:
        raise OSError("the interpreter's image is not found")
    base = ctypes.c_void_p(info.file_base)
    readable_and_writable = 1 | 2
    if own.mprotect(base, ctypes.c_size_t(4096), readable_and_writable) != 0:
        raise OSError(ctypes.get_errno(), "the image cannot be changed")
    ctypes.memset(base, 0, len(b"\x7fELF"))


async def worker():
    await truth.never()


async def main():
    await asyncio.gather(*(truth.create_task(worker(), f"worker {number}") for number in range(3)))


hide_image()
truth.run(main, edges=[("main", "worker")])
