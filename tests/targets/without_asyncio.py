"""A Python program that has nothing to do with asyncio."""
import sys
import threading

import truth

truth.end_with_stdin()
assert "asyncio" not in sys.modules
truth.announce({"tasks": []})
threading.Event().wait()
