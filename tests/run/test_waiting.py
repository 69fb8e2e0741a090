"""What a run on a cluster says while no worker takes its regions."""

import warnings

import pytest

from chunkscale.errors import ChunkscaleWarning
from chunkscale.run.waiting import FIRST_SECONDS, Waiting, lacking

SCHEDULER = "tcp://host:8786"


@pytest.mark.parametrize(
    ("offers", "asked", "said"),
    [
        ([], None, "has no workers"),
        ([], {"GPU": 1}, "has no workers"),
        ([{}], None, ""),
        ([{}], {"GPU": 1}, '--resources "GPU=1"'),
        ([{"GPU": 1}], {"GPU": 2}, '--resources "GPU=2"'),
        ([{}, {"GPU": 2.0}], {"GPU": 1}, ""),
        ([{"GPU": 1}, {"FAST": 1}], {"GPU": 1, "FAST": 0.5}, '--resources "GPU=1 FAST=0.5"'),
    ],
)
def test_what_lacks_is_named_with_the_command_that_helps(offers, asked, said):
    """One worker must have all that a region takes; with such a worker nothing is said."""
    workers = {f"tcp://worker:{n}": {"resources": offer} for n, offer in enumerate(offers)}
    text = lacking(SCHEDULER, workers, asked)
    assert (said in text) if said else not text
    if said:
        assert f"dask worker {SCHEDULER}" in text


@pytest.fixture
def clock(monkeypatch):
    """Let time pass: add seconds to its item."""
    now = [0.0]
    monkeypatch.setattr("chunkscale.run.waiting.time.monotonic", lambda: now[0])
    return now


def test_it_is_said_once_until_regions_come_back(clock):
    """Not at once, not again, and anew where workers leave later."""
    waiting = Waiting(lambda: "no worker")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for seconds, count in [(FIRST_SECONDS / 2, 0), (FIRST_SECONDS, 1), (99.0, 1)]:
            clock[0] += seconds
            waiting.goes_on()
            assert len(told) == count
        waiting.ends()
        waiting.goes_on()
        assert len(told) == 1
        clock[0] += 2 * FIRST_SECONDS
        waiting.goes_on()
        assert [(w.category, str(w.message)) for w in told] == 2 * [
            (ChunkscaleWarning, "no worker")
        ]


def test_a_scheduler_is_asked_ever_more_rarely(clock):
    """Regions that take hours are no reason to ask a large cluster every second."""
    asked = []
    waiting = Waiting(lambda: asked.append(clock[0]) or "")
    for _ in range(1000):
        clock[0] += 1.0
        waiting.goes_on()
    assert 3 < len(asked) < 10
