"""Everything in trio that parks a task: time, locks, events, channels, threads, sockets, and a task that has not started yet."""
# needs: trio
import threading

import trio
import trio_truth

taken = threading.Event()


def hold_thread():
    taken.set()
    threading.Event().wait()


async def sleeps():
    await trio.sleep(3600)


async def sleeps_until():
    await trio.sleep_until(trio.current_time() + 3600)


async def has_a_deadline():
    with trio.fail_after(3600):
        await trio.sleep_forever()


async def waits_for_event(event):
    await event.wait()


async def enters_lock(lock):
    async with lock:
        await trio.sleep_forever()


async def acquires(limit):
    await limit.acquire()


async def is_notified(condition):
    async with condition:
        await condition.wait()


async def receives(channel):
    async for _ in channel:
        pass


async def sends(channel):
    for number in range(2):
        await channel.send(number)


async def reads_socket(stream):
    await stream.receive_some(1)


async def in_thread():
    await trio.to_thread.run_sync(hold_thread)


async def never_started(*, task_status):
    await trio.sleep_forever()


async def starts(nursery):
    await nursery.start(never_started)


async def parked_by_hand():
    await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)


async def main():
    lock, condition = trio.Lock(), trio.Condition()
    full, unread = trio.open_memory_channel(0)
    _kept, empty = trio.open_memory_channel(0)
    left, right = trio.socket.socketpair()
    streams = [trio.SocketStream(left), trio.SocketStream(right)]
    async with trio.open_nursery() as nursery:
        for function in (sleeps, sleeps_until, has_a_deadline, in_thread, parked_by_hand):
            nursery.start_soon(function)
        nursery.start_soon(waits_for_event, trio.Event())
        nursery.start_soon(enters_lock, lock)
        nursery.start_soon(enters_lock, lock)
        nursery.start_soon(acquires, trio.Semaphore(0))
        nursery.start_soon(is_notified, condition)
        nursery.start_soon(receives, empty)
        nursery.start_soon(sends, full)
        nursery.start_soon(reads_socket, streams[0])
        nursery.start_soon(starts, nursery)
        await trio.sleep_forever()
        await unread.aclose()


trio_truth.run(main, ready=taken.is_set)
