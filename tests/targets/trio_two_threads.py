"""Two runs of trio in two threads, and none in the main thread."""
# needs: trio
import threading

import trio
import trio_truth

RUNS = 2


async def child():
    await trio.sleep_forever()


async def main(number):
    async with trio.open_nursery() as nursery:
        for _ in range(number + 1):
            nursery.start_soon(child, name="child of {}".format(number))


trio_truth.end_with_stdin()
trio_truth.report_once_settled(runs=RUNS)
for number in range(RUNS):
    arguments = (trio_truth.entered, main, number)
    threading.Thread(target=trio.run, args=arguments, name="run {}".format(number), daemon=True).start()
threading.Event().wait()
