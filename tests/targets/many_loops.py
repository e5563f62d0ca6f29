"""Event loops in several threads, and none in the main thread."""
import asyncio
import threading

import truth


async def worker():
    await asyncio.sleep(3600)


async def main(number, parked):
    truth.name_task(asyncio.current_task(), f"main {number}")
    loop = asyncio.get_running_loop()
    truth.enter_loop(loop)
    workers = [truth.create_task(worker(), f"worker {number}") for _ in range(3)]
    loop.call_later(0.05, parked.wait)
    await asyncio.gather(*workers)


def run(loops):
    """Runs so many loops, and tells what they do."""
    parked = threading.Barrier(loops + 1)
    truth.end_with_stdin()
    for number in range(loops):
        arguments = (main(number, parked),)
        threading.Thread(target=asyncio.run, args=arguments, name=f"loop {number}", daemon=True).start()
    parked.wait()
    edges = [(f"main {number}", f"worker {number}") for number in range(loops)]
    truth.report_from_thread(lambda: True, edges)
    threading.Event().wait()


if __name__ == "__main__":
    run(6)
