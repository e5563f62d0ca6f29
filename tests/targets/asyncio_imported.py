"""asyncio is imported, and no loop was ever made."""
import asyncio
import threading

import truth

truth.end_with_stdin()
assert asyncio
truth.report()
threading.Event().wait()
