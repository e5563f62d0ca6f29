"""An event loop that runs without a single task."""
import asyncio

import truth

truth.end_with_stdin()
loop = asyncio.new_event_loop()
truth.enter_loop(loop)
loop.call_soon(truth.report)
loop.run_forever()
