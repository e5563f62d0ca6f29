"""The import of asyncio never ends: `half_imported.py MODULE` stays where it would import that module."""
import sys
import threading

import truth


class Stop:
    """Finds nothing, and never says so of one module."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            truth.report()
            threading.Event().wait()
        return None


truth.end_with_stdin()
sys.meta_path.insert(0, Stop)
import asyncio  # noqa: E402

raise SystemExit(f"{asyncio.__name__} does not import {sys.argv[1]}")
