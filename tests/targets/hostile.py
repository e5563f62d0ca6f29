"""A process whose asyncio structures are garbage. The one argument names what is corrupted; see `CORRUPTIONS`.

It stays in the callback that did it: nothing but a reader of its memory ever follows the pointers that were broken. Besides
the victims there are tasks that stay whole.
"""

import asyncio
import ctypes
import gc
import json
import mmap
import os
import sys
import threading
import traceback

import truth

WORD = 8
# Before 3.11, a coroutine points to a frame object; since then it embeds its frame.
HAS_FRAME_OBJECTS = sys.version_info < (3, 11)
# Not an address of a user process at all; an address where nothing is mapped; one at the end of what a process can have.
NOT_CANONICAL, UNMAPPED, LAST_PAGE = 0x4141414141414141, 0xDEAD0000, 0x7FFFFFFFF000
# Shared memory that nobody has touched: whoever reads it makes it.
shared_memory = mmap.mmap(-1, 1 << 20)
SHARED = ctypes.addressof(ctypes.c_char.from_buffer(shared_memory))
# PySetObject: `used`, `mask`, `table`; PyVarObject.ob_size; PyASCIIObject.length; PyWeakReference.wr_object.
SET_FILL, SET_USED, SET_MASK, SET_TABLE = 16, 24, 32, 40
OB_TYPE, OB_SIZE, LENGTH, WR_OBJECT = 8, 16, 16, 16


def read(address):
    return ctypes.c_uint64.from_address(address).value


def write(address, value):
    ctypes.c_uint64.from_address(address).value = value


def find(thing, pointed):
    """Where `thing` holds pointers to `pointed`, tagged or not."""
    size = sys.getsizeof(thing) // WORD * WORD
    addresses = range(id(thing) + OB_TYPE + WORD, id(thing) + size, WORD)
    found = [address for address in addresses if read(address) & ~3 == id(pointed)]
    assert found, f"{thing!r} has no pointer to {pointed!r}"
    return found


def point(thing, pointed, value):
    """Makes every pointer from `thing` to `pointed` another."""
    for address in find(thing, pointed):
        write(address, value)


def point_state(coroutine, pointed, value):
    """The same for what `coroutine` has in its frame, and for its own copy of it."""
    bearers = [coroutine.cr_frame] if HAS_FRAME_OBJECTS else [coroutine]
    if pointed is coroutine.cr_code and HAS_FRAME_OBJECTS:
        bearers.append(coroutine)
    for bearer in bearers:
        point(bearer, pointed, value)


def registry():
    """The set of weak references, or of tasks, that this version keeps its tasks in."""
    weak_set = getattr(asyncio.tasks, "_all_tasks", None)
    if weak_set is None:
        weak_set = asyncio.tasks._scheduled_tasks
    return weak_set.data


def weak_reference(task):
    """The reference to `task` in the registry; since 3.14 ordinary tasks are not in it."""
    return next((it for it in registry() if it() is task), None)


def node_offset(tasks):
    """Offset of the list node in a task: its `next` leads to another task's node, whose `prev` leads back (3.14)."""
    size = sys.getsizeof(tasks[0]) // WORD * WORD
    addresses = {id(task) for task in tasks}
    for offset in range(OB_TYPE + WORD, size - WORD, WORD):
        for task in tasks:
            following = read(id(task) + offset)
            if following - offset in addresses and read(following + WORD) == id(task) + offset:
                return offset
    return None


def outer_of(victims):
    return truth.coroutine_of(victims[0])


def inner_of(victims):
    """The coroutine that the victim's own awaits."""
    return outer_of(victims).cr_await


def frame_is(value):
    """The pointer to the frame object, where there is one."""

    def corrupt(victims, tasks):
        point(inner_of(victims), inner_of(victims).cr_frame, value)

    return corrupt


def frame_is_task(victims, tasks):
    point(inner_of(victims), inner_of(victims).cr_frame, id(victims[0]))


def coroutine_is(value):
    def corrupt(victims, tasks):
        point(victims[0], outer_of(victims), value)

    return corrupt


def coroutine_is_task(victims, tasks):
    point(victims[0], outer_of(victims), id(victims[0]))


def coroutine_is_misaligned(victims, tasks):
    point(victims[0], outer_of(victims), id(outer_of(victims)) + 3)


def name_is(value):
    def corrupt(victims, tasks):
        point(victims[0], names[victims[0]], value)

    return corrupt


def name_is_endless(victims, tasks):
    write(id(names[victims[0]]) + LENGTH, 1 << 60)


def chain_is_a_circle(victims, tasks):
    inner = inner_of(victims)
    point_state(inner, inner.cr_await, id(outer_of(victims)))


def code_is(value):
    def corrupt(victims, tasks):
        point_state(inner_of(victims), inner_of(victims).cr_code, value)

    return corrupt


def code_is_task(victims, tasks):
    point_state(inner_of(victims), inner_of(victims).cr_code, id(victims[0]))


def code_has_endless_lines(victims, tasks):
    code = inner_of(victims).cr_code
    # Before 3.10 it has another format, and another name.
    lines = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
    write(id(lines) + OB_SIZE, 1 << 60)


def code_has_a_number_for_a_file(victims, tasks):
    code = inner_of(victims).cr_code
    point(code, code.co_filename, id(10**50))


def stack_top_is_far_away(victims, tasks):
    """The stack's top, wherever the frame has it: a count of slots (3.10 to 3.13), or a pointer."""
    inner = inner_of(victims)
    bearer = inner.cr_frame if HAS_FRAME_OBJECTS else inner
    slot = find(bearer, inner.cr_await)[-1]
    words = range(id(bearer) + 2 * WORD, id(bearer) + sys.getsizeof(bearer) // WORD * WORD, WORD)
    for address in words:
        # Since 3.15, what is awaited has a second slot above it.
        if read(address) in (slot + WORD, slot + 2 * WORD):
            write(address, slot + (1 << 40))
            return
    if HAS_FRAME_OBJECTS:
        # This function has no variables: the stack begins with the slot. The pointer to its beginning, `f_trace`, and the count.
        (bottom,) = [address for address in words if read(address) == slot]
        place = bottom + 2 * WORD
    else:
        # The slot is the first behind the frame's header, which ends with the count.
        place = slot - WORD
    count = ctypes.c_uint32.from_address(place)
    assert count.value == 1
    count.value = 0x7FFFFFFF


def waiter_is(value):
    def corrupt(victims, tasks):
        point(victims[0], victims[0]._fut_waiter, value)

    return corrupt


def terminal_is(value):
    def corrupt(victims, tasks):
        point_state(inner_of(victims), inner_of(victims).cr_await, value)

    return corrupt


def loop_is(value):
    def corrupt(victims, tasks):
        point(victims[0], asyncio.get_running_loop(), value)

    return corrupt


def gather_is_endless(victims, tasks):
    gathers = next(task for task in tasks if truth.coroutine_of(task).__name__ == "main")
    write(id(gathers._fut_waiter._children) + OB_SIZE, 1 << 60)


def registry_is_endless(victims, tasks):
    write(id(registry()) + SET_MASK, (1 << 62) - 1)
    write(id(registry()) + SET_USED, 1 << 60)
    write(id(registry()) + SET_FILL, 1 << 60)


def registry_is_vast(victims, tasks):
    """As many slots as are looked at, of which only the first are used."""
    slots, slot_bytes = 1 << 24, 16
    table = mmap.mmap(-1, slots * slot_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    used = (read(id(registry()) + SET_MASK) + 1) * slot_bytes
    table[:used] = ctypes.string_at(read(id(registry()) + SET_TABLE), used)
    start = ctypes.c_char.from_buffer(table)
    kept.append(start)
    write(id(registry()) + SET_TABLE, ctypes.addressof(start))
    write(id(registry()) + SET_MASK, slots - 1)


def registry_is(value):
    def corrupt(victims, tasks):
        write(id(registry()) + SET_TABLE, value)

    return corrupt


def reference_is(value):
    def corrupt(victims, tasks):
        reference = weak_reference(victims[0])
        if reference is not None:
            write(id(reference) + WR_OBJECT, value)

    return corrupt


def list_is(value):
    """The list node of a victim leads to `value`, where there is a list (3.14)."""

    def corrupt(victims, tasks):
        offset = node_offset(tasks)
        if offset is not None:
            write(id(victims[0]) + offset, value)

    return corrupt


def list_is_a_circle(victims, tasks):
    offset = node_offset(tasks)
    if offset is not None:
        write(id(victims[0]) + offset, id(victims[0]) + offset)


CORRUPTIONS = {
    "nothing": lambda victims, tasks: None,
    "coroutine_not_canonical": coroutine_is(NOT_CANONICAL),
    "coroutine_unmapped": coroutine_is(UNMAPPED),
    "coroutine_null": coroutine_is(0),
    "coroutine_last_page": coroutine_is(LAST_PAGE),
    "coroutine_is_task": coroutine_is_task,
    "coroutine_misaligned": coroutine_is_misaligned,
    "coroutine_shared": coroutine_is(SHARED),
    "name_shared": name_is(SHARED),
    "code_shared": code_is(SHARED),
    "waiter_shared": waiter_is(SHARED),
    "registry_shared": registry_is(SHARED),
    "name_unmapped": name_is(UNMAPPED),
    "name_not_canonical": name_is(NOT_CANONICAL),
    "name_endless": name_is_endless,
    "chain_circle": chain_is_a_circle,
    "code_unmapped": code_is(UNMAPPED),
    "code_is_task": code_is_task,
    "code_lines_endless": code_has_endless_lines,
    "code_file_is_number": code_has_a_number_for_a_file,
    "stack_top": stack_top_is_far_away,
    "waiter_unmapped": waiter_is(UNMAPPED),
    "terminal_unmapped": terminal_is(UNMAPPED),
    "terminal_not_canonical": terminal_is(NOT_CANONICAL),
    "loop_unmapped": loop_is(UNMAPPED),
    "gather_endless": gather_is_endless,
    "registry_endless": registry_is_endless,
    "registry_vast": registry_is_vast,
    "registry_unmapped": registry_is(UNMAPPED),
    "reference_unmapped": reference_is(UNMAPPED),
    "reference_not_canonical": reference_is(NOT_CANONICAL),
    "list_unmapped": list_is(UNMAPPED),
    "list_null": list_is(0),
    "list_circle": list_is_a_circle,
}

if not truth.HAS_TASK_NAMES:
    CORRUPTIONS = {name: corrupt for name, corrupt in CORRUPTIONS.items() if not name.startswith("name_")}
if HAS_FRAME_OBJECTS:
    CORRUPTIONS["frame_unmapped"] = frame_is(UNMAPPED)
    CORRUPTIONS["frame_not_canonical"] = frame_is(NOT_CANONICAL)
    CORRUPTIONS["frame_is_task"] = frame_is_task

names = {}
kept = []


async def sleeps():
    await truth.never()
    # Another line table than that of `whole`, which would be the same object.
    return "slept"


async def victim():
    await sleeps()


async def whole():
    await truth.never()


def stay(loop):
    """Corrupts the tasks once they are parked, and never returns to the loop."""
    tasks = list(asyncio.all_tasks(loop))
    if any(task._fut_waiter is None for task in tasks):
        loop.call_soon(stay, loop)
        return
    try:
        corrupt(tasks)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    threading.Event().wait()


def corrupt(tasks):
    for task in tasks:
        names[task] = next((it for it in gc.get_referents(task) if isinstance(it, str)), None)
    victims = [task for task in tasks if truth.coroutine_of(task).__name__ == "victim"]
    answer = {"pid": os.getpid(), "victim": truth.address(victims[0]), **truth.snapshot(truth.Edges())}
    # Nothing of it may be looked at any more afterwards.
    line = json.dumps(answer)
    CORRUPTIONS[sys.argv[1]](victims, tasks)
    print(line, flush=True)


async def main():
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    tasks = [truth.create_task(whole(), f"whole {number}") for number in range(5)]
    # Among the others in whatever order the registry has.
    tasks.insert(2, truth.create_task(victim(), " ".join(["the", "victim"])))
    loop.call_soon(stay, loop)
    await asyncio.gather(*tasks)


if sys.argv[1] == "list":
    truth.announce({"corruptions": list(CORRUPTIONS)})
else:
    truth.end_with_stdin()
    asyncio.run(main())
