"""Blocks that are kept: no more than there is room for, and each made by one thread."""

import threading
import time

import numpy as np
import pytest

from chunkscale.storage.block_cache import BlockCache


def test_who_waits_for_a_block_that_fails_makes_it_and_the_room_stays_what_it_is():
    """The one that failed was dropped; what the next one makes of it takes no room for ever."""
    cache, begun = BlockCache(16), threading.Event()

    def fail():
        begun.set()
        time.sleep(0.05)  # until the other one waits
        raise OSError("injected")

    def first():
        with pytest.raises(OSError, match="injected"):
            cache.get(0, fail)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)
    assert cache.get(0, lambda: np.ones(8, "u1")).all()
    thread.join()
    made = []
    for key in (1, 2, 1, 2, 1):  # there is room for two
        cache.get(key, lambda key=key: made.append(key) or np.zeros(8, "u1"))
    assert made == [1, 2]
