"""How an image is shown, as "omero" and "image-label" say it: mended by the rules of NGFF.

What a value means is kept where that is clear (a colour with "#", a number as text, a window
whose end is missing beside its max). What is not clear gets what is safe, or is left out.
"""

from __future__ import annotations

import colorsys
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chunkscale.errors import Notice
from chunkscale.geometry.grid import VoxelGrid
from chunkscale.geometry.units import is_finite
from chunkscale.ome.entries import is_list, or_empty, short
from chunkscale.ome.versions import ngff_namespace

#: Takes what was wrong, in words.
Say = Callable[[str], None]

_WHITE = "FFFFFF"

_NAMED = "red=FF0000 green=00FF00 blue=0000FF cyan=00FFFF magenta=FF00FF yellow=FFFF00 white=FFFFFF"

_COLORS = dict(pair.split("=") for pair in _NAMED.split())

#: The samples of colour pictures, and how each is shown.
RGB = {"red": "FF0000", "green": "00FF00", "blue": "0000FF", "alpha": "FFFFFF"}

#: Channels that are told one by one: the shape of a damaged document may have any number.
MOST_CHANNELS = 2**16

_LOW, _HIGH = ("min", "start"), ("max", "end")


def mended_omero(value: object, dtype: str, count: int | None, say: Say) -> dict[str, Any] | None:
    """Return "omero" as every reader takes it; None if it cannot be used at all.

    `count` is how many channels the image has, if that is known.
    """
    channels = value.get("channels") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not is_list(channels):
        say(f"it is {short(value)}, without a list of 'channels' (left out)")
        return None
    limits = _limits(dtype)
    result = dict(value)
    more = 0 if count is None else count - len(channels)
    if more > MOST_CHANNELS:
        say(f"channels has {len(channels)} entries, and the image has {count} channels (left out)")
        return None
    if more:
        which = "plain ones are added" if more > 0 else "the others are left out"
        say(f"channels has {len(channels)} entries, and the image has {count} channels ({which})")
    result["channels"] = [
        _channel(channel, f"channels[{i}]", limits, say)
        for i, channel in enumerate(channels[:count])
    ] + [_plain_channel(limits) for _ in range(more)]
    mend(result, "", say, id=whole_number, name=as_text, version=as_text)
    rdefs = result.get("rdefs")
    if isinstance(rdefs, Mapping):
        result["rdefs"] = rdefs = dict(rdefs)
        how = {
            "defaultT": whole_number,
            "defaultZ": whole_number,
            "model": as_text,
            "projection": as_text,
        }
        mend(rdefs, "rdefs.", say, **how)
    elif rdefs is not None:
        say(f"rdefs is {short(rdefs)} (left out)")
        del result["rdefs"]
    return result


def listed_channels(attributes: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what "omero" says of channels, one entry for each; nothing if it has no list."""
    omero = ngff_namespace(attributes).get("omero")
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    found = listed if isinstance(listed, list) else []
    return [entry if isinstance(entry, Mapping) else {} for entry in found]


def channel_labels(ngff: Mapping[str, Any], grid: VoxelGrid) -> list[str]:
    """Return what "omero" calls the channels of an image; nothing if it names none of them."""
    listed, axis = listed_channels(ngff), grid.channel_axis
    count = len(listed) if axis is None else grid.shape[axis]
    labels = [as_text(entry.get("label")) for entry in listed[:count]]
    if not any(labels) or count > MOST_CHANNELS:
        return []
    labels += [None] * (count - len(labels))
    return [label or f"channel {i}" for i, label in enumerate(labels)]


def shown_channels(
    labels: Sequence[str | None],
    colors: Sequence[str | None] = (),
    windows: Sequence[tuple[float, float] | None] = (),
) -> dict[str, Any]:
    """Return attributes in which channels are shown like this, as far as anything is said of one.

    Parameters
    ----------
    labels : sequence
        By channel, as all others; None where nothing is said.
    colors : sequence, optional
        White where it is None, or none that is understood.
    windows : sequence of (float, float), optional
        What is shown from black to full colour. `with_windows` adds those that are not said.
    """
    if not any(x is not None for x in (*labels, *colors, *windows)):
        return {}
    channels = []
    for label, color, window in itertools.zip_longest(labels, colors, windows):
        entry: dict[str, Any] = {"color": _color(color) or _WHITE, "active": True}
        if window is not None:
            entry["window"] = dict(zip(("start", "end"), window, strict=True))
        channels.append(entry | ({} if label is None else {"label": label}))
    return {"omero": {"channels": channels}}


def with_windows(
    attributes: Mapping[str, Any], dtype: np.dtype[Any]
) -> tuple[Mapping[str, Any], tuple[Notice, ...]]:
    """Complete the windows of `shown_channels`, and say where the data type tells no range.

    OME-Zarr wants a window for each channel, with four numbers.
    """
    listed = listed_channels({"omero": attributes.get("omero")})
    windows = [entry.get("window", {}) for entry in listed]
    ours = all(isinstance(w, Mapping) and set(w) in (set(), {"start", "end"}) for w in windows)
    if not listed or not ours or listed != attributes["omero"]["channels"]:
        return attributes, ()  # they are somebody else's, and mended where that has to be
    low, high = _limits(dtype.name)
    bounded = dtype.kind in "iub"
    channels = []
    for entry, said in zip(listed, windows, strict=True):
        start, end = said.get("start", low), said.get("end", high)
        least, most = (min(low, start), max(high, end)) if bounded else (start, end)
        window = {"min": least, "max": most, "start": start, "end": end} | said
        channels.append({**entry, "window": window})
    text = (
        "the display range of its floats is unknown; the output gets 0 to 1, because OME-Zarr "
        "requires a range. Adjust the contrast in the viewer if needed"
    )
    shown = {**attributes, "omero": {**attributes["omero"], "channels": channels}}
    return shown, () if bounded or all(windows) else (Notice("window", text),)


def _plain_channel(limits: tuple[float, float]) -> dict[str, Any]:
    low, high = limits
    window = {"min": low, "max": high, "start": low, "end": high}
    return {"color": _WHITE, "window": window}


def _channel(value: object, where: str, limits: tuple[float, float], say: Say) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        say(f"{where} is {short(value)} (a plain channel)")
        value = _plain_channel(limits)
    result = dict(value)
    color = _color(result.get("color")) or _WHITE
    if color != result.get("color"):
        say(f"{where}.color is {short(result.get('color'))} ({color!r})")
        result["color"] = color
    result["window"] = _window(result.get("window"), f"{where}.window", limits, say)
    how = {"label": as_text, "family": as_text, "active": _flag, "inverted": _flag}
    mend(result, f"{where}.", say, **how, coefficient=number)
    return result


def _window(value: object, where: str, limits: tuple[float, float], say: Say) -> dict[str, Any]:
    """Complete a window: its range from what it shows, and that from its range, and both else."""
    stated = value if isinstance(value, Mapping) else {}
    found = {key: number(stated.get(key)) for key in ("min", "max", "start", "end")}
    for (a, b), pick, limit in ((_LOW, min, limits[0]), (_HIGH, max, limits[1])):
        if found[a] is None and found[b] is None:
            known = [n for n in found.values() if n is not None]
            found[a] = pick([limit, *known])
        found[a] = found[b] if found[a] is None else found[a]
        found[b] = found[a] if found[b] is None else found[b]
    for a, b in (("min", "max"), ("start", "end")):
        low, high = found[a], found[b]
        if low is not None and high is not None and low > high:
            found[a], found[b] = high, low
    if all(_same(stated.get(key), n) for key, n in found.items()):
        return dict(stated)
    say(f"{where} is {short(value)} ({found})")
    return {**stated, **found}


def _limits(dtype: str) -> tuple[float, float]:
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        info = np.iinfo(kind)
        return int(info.min), int(info.max)
    return 0, 1


def mended_label(value: object, say: Say) -> dict[str, Any]:
    """Return "image-label" as every reader takes it; that it is one is always kept."""
    if not isinstance(value, Mapping):
        if value is not None:
            say(f"it is {short(value)} and not an object (an empty one)")
        return {}
    result = dict(value)
    for key in ("colors", "properties"):
        if key not in result:
            continue
        entries = result.pop(key)
        if not is_list(entries) or not entries:
            say(f"{key} is {short(entries)} and not a list with entries (left out)")
        elif kept := list(_label_entries(key, entries, say)):
            result[key] = kept
    return result


def completed_label(label: dict[str, Any]) -> list[int]:
    """Let "colors" and "properties" speak of the same labels, as ome-zarr-models wants it.

    Returns
    -------
    list of int
        Those that got a colour.
    """
    parts = [label.get("colors"), label.get("properties")]
    if not all(parts):
        return []
    colored, named = ({entry["label-value"] for entry in part or ()} for part in parts)
    plain = sorted(named - colored)
    for value in plain:
        label["colors"].append({"label-value": value, "rgba": [*label_rgb(value), 255]})
    label["properties"] += [{"label-value": value} for value in sorted(colored - named)]
    return plain


def label_rgb(value: int) -> tuple[int, int, int]:
    """Return the colour of a label that has none: hues far apart for those that are neighbours.

    Examples
    --------
    >>> label_rgb(1), label_rgb(2)
    ((91, 131, 229), (172, 229, 91))
    """
    red, green, blue = colorsys.hsv_to_rgb(value * 0.618034 % 1, 0.6, 0.9)
    return int(255 * red), int(255 * green), int(255 * blue)


def label_colors(attributes: Mapping[str, Any]) -> dict[int, list[int]]:
    """Return the colours (red, green, blue, alpha) that "image-label" gives to labels."""
    stated = mended_label(ngff_namespace(attributes).get("image-label"), lambda text: None)
    return {
        entry["label-value"]: entry["rgba"] for entry in stated.get("colors", ()) if "rgba" in entry
    }


def channel_colors(listed: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Return the colours of channels as six hexadecimal digits; None where it is not clear."""
    return [_color(entry.get("color")) for entry in listed]


def _label_entries(key: str, entries: Any, say: Say) -> Iterator[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for i, entry in enumerate(entries):
        stated = entry.get("label-value") if isinstance(entry, Mapping) else None
        label = whole_number(stated)
        if label is None:
            say(f"{key}[{i}] is {short(entry)}, without a whole number as 'label-value' (left out)")
            continue
        mended = {**entry, "label-value": label}
        if not _same(stated, label):
            say(f"{key}[{i}].label-value is {short(stated)} ({label})")
        if key == "colors" and (color := _label_color(mended, f"{key}[{i}].rgba", say)) is None:
            continue
        elif key == "colors":
            mended["rgba"] = color
        if label in found:
            say(f"{key}[{i}] has label {label} again (what the first one lacks is kept)")
        found[label] = {**mended, **found.get(label, {})}
    yield from found.values()


def _label_color(entry: Mapping[str, Any], where: str, say: Say) -> list[int] | None:
    stated: Any = entry.get("rgba")
    color = _rgba(stated)
    if color is None:
        if stated is not None or set(entry) > {"label-value", "rgba"}:
            say(f"{where} is {short(stated)} (left out with its label)")
    elif color != list(stated) or not all(type(n) is int for n in stated):
        say(f"{where} is {short(stated)} ({color})")
    return color


def mend(holder: dict[str, Any], where: str, say: Say, **how: Callable[[object], object]) -> None:
    """Mend values in place, or leave them out; null says nothing, and stays."""
    for key, read in how.items():
        stated = holder.get(key)
        if stated is None:
            continue
        value = read(stated)
        if value is None:
            del holder[key]
            say(f"{where}{key} is {short(stated)} (left out)")
        elif not _same(stated, value):
            holder[key] = value
            say(f"{where}{key} is {short(stated)} ({value!r})")


def _same(stated: object, value: object) -> bool:
    """Whether nothing was mended: 1, 1.0 and True are not the same."""
    return type(stated) is type(value) and stated == value


def number(value: object) -> float | None:
    """Return a finite number, text or not."""
    if isinstance(value, str):
        try:
            value = float(value) if not re.fullmatch(r"\s*[+-]?\d+\s*", value) else int(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and is_finite(value) else None


def whole_number(value: object) -> int | None:
    """Return a whole number, text or not."""
    found = number(value)
    return None if found is None or found != int(found) else int(found)


def as_text(value: object) -> str | None:
    """Return a text, or a number as one."""
    if isinstance(value, str):
        return value
    found = number(value)
    return None if found is None else str(found)


def _flag(value: object) -> bool | None:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower())
    return bool(value) if isinstance(value, bool | int) and value in (0, 1) else None


def _color(value: object) -> str | None:
    """Return six hexadecimal digits, or None where it is not clear which."""
    rgb = _rgba(value)
    if rgb is not None:
        return "{:02X}{:02X}{:02X}".format(*rgb[:3])
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.lower() in _COLORS:
        return _COLORS[text.lower()]
    digits = re.fullmatch(r"(#|0[xX])?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})", text)
    if digits:
        return digits[2] if len(digits[2]) == 6 else "".join(2 * c for c in digits[2])
    css = re.fullmatch(r"#([0-9a-fA-F]{6})[0-9a-fA-F]{2}", text)
    return css[1] if css else None


def _rgba(value: object) -> list[int] | None:
    """Return four bytes; three are opaque. Floats up to 1 are shares: as a byte 1 is black."""
    numbers = [number(part) for part in or_empty(value)]
    if any(isinstance(n, float) for n in numbers) and all(0 <= (n or 0) <= 1 for n in numbers):
        numbers = [n if n is None else math.floor(255 * n + 0.5) for n in numbers]
    parts = [whole_number(n) for n in numbers]
    if len(parts) not in (3, 4) or not all(p is not None and 0 <= p <= 255 for p in parts):
        return None
    return [int(p or 0) for p in parts] + [255] * (4 - len(parts))
