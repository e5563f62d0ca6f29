"""The same as `forked_in_loop`, where asyncio has no `_asyncio` module."""
import sys

sys.modules["_asyncio"] = None

import forked_in_loop
