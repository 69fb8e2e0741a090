"""Damage to documents and stored objects: each function takes a random source and says nothing."""

import copy
import json
import random

#: What stands where something else should: edges of arithmetic, other types, texts that bite.
VALUES = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, -0.0, 1e308, -1e308, 1.7976931348623157e308, 5e-324,
    1e-300, 1e300, float("nan"), float("inf"), -float("inf"), 2**31, 2**53 + 1, 2**62, 2**63,
    2**64, 10**30, 10**400, "", " ", "x", "0", "1", "NaN", "0x7fc00000", "../x", "/etc", ".",
    "a/../..", "\x1b[31mred", "\u202eabc", "\x00", "\ud800", "ä" * 300, "a" * 100_000, [], {},
    [[]], [None], [0], [1, 1, 1], [1e308] * 3, [1] * 5, {"a": 1}, {"path": "0"}, {"name": "x"},
    {"type": "scale", "scale": [1, 1, 1]}, "space", "time", "channel", "micrometer", "pixel",
    "uint8", "float64", "<u2", "|O", "r16", "bytes", "gzip", "0.4", "0.5", "0.6", "9.9",
)  # fmt: skip


def deep(levels):
    """Return lists in lists, so many."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


def _places(value, found):
    """Collect every (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        found.append((value, key))
        if isinstance(inner, dict | list):
            _places(inner, found)
    return found


def _number(rng, value):
    if isinstance(value, bool) or not isinstance(value, int | float):
        return copy.deepcopy(rng.choice(VALUES))
    factor = rng.choice((-1, 0.5, 2, 3, 10, 1e-3, 1e9, 1e18, 1e-18, 1e150, 1e-150, 1e305, 1e-305))
    try:
        return type(value)(value * factor) if rng.random() < 0.5 else value * factor
    except OverflowError:
        return copy.deepcopy(rng.choice(VALUES))


def mutate_value(rng, document):
    """Change something in a document, in place."""
    places = _places(document, [])
    if not places:
        document["x"] = copy.deepcopy(rng.choice(VALUES))
        return
    holder, key = rng.choice(places)
    kind = rng.randrange(11)
    if kind <= 3:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == 4:
        holder[key] = _number(rng, holder[key])
    elif kind == 5:
        del holder[key]
    elif kind == 6:
        other, name = rng.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 7 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
    elif kind == 8 and isinstance(holder, list):
        rng.shuffle(holder)
    elif kind == 9 and isinstance(holder, list):
        times = rng.choice((3, 30, 1000))
        if len(places) * times < 10**6:  # twice in one document makes hundreds of megabytes
            holder[key:key] = [copy.deepcopy(holder[key])] * times
    elif kind == 10:
        holder[key] = rng.choice((lambda v: [v], lambda v: {"a": v}, lambda v: str(v)))(holder[key])
    elif isinstance(holder, dict):
        name = rng.choice((*holder, "x", "path", "name", "attributes"))
        holder[name] = copy.deepcopy(rng.choice(VALUES))
    else:
        holder[key] = deep(rng.choice((3, 60, 600, 3000)))


def mutate_bytes(rng, content):
    """Return content with a part of it changed, gone or doubled."""
    if not content:
        return b"x"
    at = rng.randrange(len(content))
    kind = rng.randrange(9)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if kind == 2:
        return content + rng.choice((b"\0", b"x", b"{}", rng.randbytes(64)))
    if kind == 3:
        return b"\xef\xbb\xbf" + content
    if kind == 4:
        return rng.choice((b"", b"\0" * len(content), b"null", b"[]", b"1", b"\xff\xfe"))
    if kind == 5:
        return content[:at] + content[at : at + 40] + content[at:]
    if kind == 6:
        return content.decode("latin1").encode("utf-16")
    if kind == 7:
        return content[:at] + rng.randbytes(4) + content[at + 4 :]
    return content[at:]


def mutate_document(rng, content):
    """Return a JSON document with one to three things changed."""
    if rng.random() < 0.08:
        return mutate_bytes(rng, content)
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if isinstance(document, dict):
            mutate_value(rng, document)
    try:
        return json.dumps(document).encode()
    except RecursionError:
        return b"[" * 3000 + b"]" * 3000


#: What happens to a stored object.
FAULTS = ("flip", "truncate", "append", "empty", "zero", "swap", "half", "end")


def spoil(rng, fault, content, other):
    """Return a stored object with a fault; `other` is another object of its array."""
    at = rng.randrange(len(content))
    if fault == "flip":
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if fault == "end":  # the index of a shard, a checksum
        at = len(content) - 1 - rng.randrange(min(len(content), 40))
        return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
    return {
        "truncate": content[:at],
        "append": content + rng.randbytes(rng.choice((1, 16, 400))),
        "empty": b"",
        "zero": bytes(len(content)),
        "swap": other,
        "half": content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    }[fault]


def source_of(seed, number):
    """Return what a case draws from: the same for the same seed and number."""
    return random.Random(f"{seed}-{number}")
