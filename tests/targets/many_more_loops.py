"""More event loops than there is room for in the plan of one walk, or in the kernel's tables at a time."""
import threading

import many_loops

# A thread is small, and there are many.
threading.stack_size(512 * 1024)
many_loops.run(70)
