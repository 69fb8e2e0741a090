"""Blocks that are kept: no more than there is room for, and each made by one thread."""

import contextlib
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


def test_blocks_that_are_wanted_together_are_made_once_and_a_failure_holds_up_nobody():
    """Two threads share what both want; what fails is made by the next one."""
    cache, made, begun = BlockCache(64), [], threading.Event()

    def make(keys):
        for key in keys:
            begun.set()
            time.sleep(0.02)  # until the other one asks
            made.append(key)
            yield key, np.full(8, key, "u1")

    def check(keys):
        found = dict(cache.get_all(keys, make))
        assert {key: int(block[0]) for key, block in found.items()} == {key: key for key in keys}

    first = threading.Thread(target=check, args=([1, 2, 3],))
    first.start()
    assert begun.wait(10)
    check([2, 3, 4])
    first.join(10)
    assert sorted(made) == [1, 2, 3, 4]

    def fail(keys):
        yield keys[0], np.zeros(8, "u1")
        raise OSError("injected")

    with pytest.raises(OSError, match="injected"):
        list(cache.get_all([5, 6, 7], fail))
    check([6, 7])


def test_who_fails_drops_nothing_that_another_has_made():
    """Bytes that nobody could find again would count as held for the rest of a run."""
    cache, voxels = BlockCache(12), np.zeros(8, "u1")
    begun, waits = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    def fails(turn):
        begun[turn].set()
        assert waits[turn].wait(10)
        raise OSError(f"the server is gone ({turn})")

    def ask(turn):
        with contextlib.suppress(OSError):
            cache.get("chunk", lambda: fails(turn))

    first, second = (threading.Thread(target=ask, args=(turn,)) for turn in range(2))
    first.start()
    assert begun[0].wait(10)
    second.start()  # it waits for what the first one makes
    time.sleep(0.1)
    waits[0].set()
    assert begun[1].wait(10)
    cache.get("chunk", lambda: voxels)
    waits[1].set()
    for thread in (first, second):
        thread.join(10)
    cache.get("chunk", lambda: pytest.fail("it was held"))
    cache.get("other", lambda: voxels)
    cache.get("other", lambda: pytest.fail("there is room for it"))
