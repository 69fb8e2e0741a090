"""Words for people: sizes, counts and tables as text."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal


def human_bytes(number: float) -> str:
    """Return a size as people read it.

    Examples
    --------
    >>> human_bytes(999), human_bytes(3 * 2**20), human_bytes(1.5 * 2**40)
    ('999 B', '3.0 MiB', '1.5 TiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1024 or unit == "PiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


#: What steers a terminal: control characters but for line ends, and what turns the direction of
#: writing; and halves of characters, which no terminal takes.
_RAW = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    r"""Return a text with what would steer a terminal written out; names in metadata may hold it.

    Examples
    --------
    >>> print(escaped("\x1b[31mred"))
    \u001b[31mred
    """
    return _RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_QUOTED = r"""'[^'\n]*'|"[^"\n]*\""""

#: What stands in quotes, like a path; or an argument of Python, and behind it in brackets the
#: option of the command line.
_ARGUMENT = re.compile(
    rf"(?<![\w=])(?:{_QUOTED})(?!\w)"
    r"|(?<!\w)\w+"
    rf"(?:=(?:\{{[^}}]*\}}|\[[^]]*\]|\([^()]*\)|{_QUOTED}|[^\s(){{}}']+))? \((--[^()]*)\)"
)

#: Whether messages are read by somebody who types options.
_typed = [False]


@contextlib.contextmanager
def as_typed() -> Iterator[None]:
    """Name options in messages as they are typed on the command line, not as arguments."""
    before, _typed[0] = _typed[0], True
    try:
        yield
    finally:
        _typed[0] = before


def spoken(text: str) -> str:
    """Return a message with its options as its reader spells them.

    Messages are written for both, like ``antialias=True (--antialias)``.

    Examples
    --------
    >>> text = "give axes='zyx' (--source-axes zyx)"
    >>> with as_typed():
    ...     print(spoken(text))
    give --source-axes zyx
    >>> spoken(text)
    "give axes='zyx'"
    """
    if " (--" not in text:  # what a damaged file has for a name may be long
        return text

    def said(found: re.Match[str]) -> str:
        if found[1] is None:  # what is quoted is not ours
            return found[0]
        return found[1] if _typed[0] else found[0].partition(" (--")[0]

    return _ARGUMENT.sub(said, text)


def as_lines(texts: Iterable[str]) -> str:
    """Return texts as one line each, whatever they hold."""
    return "\n".join(escaped(text).replace("\n", "\\n") for text in texts)


def count(number: int, noun: str, plural: str = "s") -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "region"), count(2, "pass", "es")
    ('1 region', '2 passes')
    """
    return f"{number} {noun}{plural if number != 1 else ''}"


def some(texts: Sequence[str], most: int = 3, separator: str = ", ") -> str:
    """Return the first of some texts, and how many more there are.

    Examples
    --------
    >>> some(["a", "b", "c"], 2), some(["a", "b"])
    ('a, b and 1 more', 'a, b')
    """
    more = len(texts) - most
    return separator.join(texts[:most]) + (f" and {more} more" if more > 0 else "")


def some_names(names: Iterable[str], most: int = 3) -> str:
    """Return the first of some names in quotes, and how many more there are."""
    return some([repr(name) for name in names], most)


def shown(value: object, most: int = 200) -> str:
    """Return a value for a message, which a damaged file may have made long or deep.

    Examples
    --------
    >>> shown([1, 2]), shown("a" * 999, 5)
    ('[1, 2]', "'aaaa...")
    """
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= most else text[:most] + "..."


def number(value: float | None) -> str:
    """Return a number without the noise behind its sixth digit.

    Examples
    --------
    >>> number(0.30000000000000004), number(1234567), number(-0.0)
    ('0.3', '1234567', '0')
    """
    if value is None:
        return "?"
    return rounded(value + 0.0, 6) if isinstance(value, float) else str(value)


def rounded(value: float, digits: int = 3) -> str:
    """Return a number with some digits; an exponent stands only where it spares many zeros.

    Examples
    --------
    >>> rounded(1000.0), rounded(1 / 3), rounded(12345), rounded(2e-7), rounded(3e20)
    ('1000', '0.333', '12300', '2e-07', '3e+20')
    """
    text = f"{value:.{digits}g}"
    return f"{Decimal(text):f}" if "e" in text and 1e-5 <= abs(value) < 1e15 else text


def per_second(amount: float, seconds: float) -> str:
    """Return a speed: whole numbers from ten on, two digits below.

    Examples
    --------
    >>> per_second(380.4, 1), per_second(3.16, 1), per_second(0.5, 8), per_second(1, 900)
    ('380', '3.2', '0.062', 'under 0.01')
    """
    speed = amount / max(seconds, 1e-9)
    if speed < 0.01:
        return "under 0.01"
    return f"{speed:.0f}" if speed >= 10 else rounded(speed, 2)


def times(values: Iterable[float] | None) -> str:
    """Return numbers as ``2 x 3 x 4``.

    Examples
    --------
    >>> times((86, 80, 79)), times((1.0, 0.202))
    ('86 x 80 x 79', '1 x 0.202')
    """
    return "-" if values is None else " x ".join(map(number, values))


def by_commas(text: str) -> str:
    """Return a list of numbers with commas, also where an x stands between them.

    Examples
    --------
    >>> by_commas("64 x 128x128"), by_commas("x=3,y=4")
    ('64,128,128', 'x=3,y=4')
    """
    return re.sub(r"(?<=\d)\s*x\s*(?=\d)", ",", text)


#: Characters of a line where tables are shown; None if it has no end.
_columns: list[int | None] = [None]


@contextlib.contextmanager
def fitted(columns: int | None) -> Iterator[None]:
    """Let tables be as wide as a terminal, which would break every line of a wider one."""
    before, _columns[0] = _columns[0], columns
    try:
        yield
    finally:
        _columns[0] = before


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    r"""Return rows as aligned lines, the first one being the head.

    What is too wide becomes several tables, each of which begins with the first column.

    Examples
    --------
    >>> rows = [["level", "shape", "bytes"], ["0", "8 x 8", "64"]]
    >>> print(*table(rows), sep="\n")
      level  shape  bytes
      0      8 x 8  64
    >>> with fitted(16):
    ...     print(*table(rows), sep="\n")
      level  shape
      0      8 x 8
      level  bytes
      0      64
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for part in _parts(widths):
        for row in rows:
            cells = (row[i].ljust(widths[i]) for i in part)
            lines.append("  " + "  ".join(cells).rstrip())
    return lines


def _parts(widths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the columns of each table that a table of such columns becomes."""
    most, part = _columns[0] or math.inf, [0]
    for i in range(1, len(widths)):
        if len(part) > 1 and sum(widths[k] + 2 for k in (*part, i)) > most:
            yield part
            part = [0]
        part.append(i)
    if widths:
        yield part
