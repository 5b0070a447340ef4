"""A cache of the values that were used last, up to a number of bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class ByteCache:
    """The values that were used last, as many as fit into a number of bytes; the last one is always kept.

    Threads may share one.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, read: Callable[[], tuple[Any, int]]) -> Any:
        """Return the value of a key; where it is not kept, what `read` returns, which is the value and its bytes."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            value, size = read()
            self._values[key] = value, size
            self.num_bytes += size
            while self.num_bytes > self.max_bytes and len(self._values) > 1:
                self.num_bytes -= self._values.popitem(last=False)[1][1]
            return value

    def __reduce__(self) -> tuple:
        return ByteCache, (self.max_bytes,)  # Another process begins with an empty one.
