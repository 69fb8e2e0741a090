"""A parser that says what was probably meant, with the usage of the verb that was typed."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from chunkscale.api.defaults import LENGTH_UNITS

#: What begins with a minus and is a value: -1,0 or -2: or -1e3 or -inf.
_NEGATIVE = re.compile(r"-(\d|\.\d|inf\b)")

#: What stands behind a number, and not by itself.
_UNITS = LENGTH_UNITS | {f"{scale}{unit}" for scale in "KMGT" for unit in ("iB", "B")}

_LENGTH = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?([^\W\d_]*)")


class Parser(argparse.ArgumentParser):
    """An `argparse` parser whose refusals name what is nearest to what was typed.

    Attributes
    ----------
    verbs : dict of str to Parser
        Those of the whole program; none of a verb.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.verbs: dict[str, Parser] = {}
        self._negative_number_matcher = _NEGATIVE

    @property
    def options(self) -> list[str]:
        """All options as they are typed."""
        return [text for action in self._actions for text in action.option_strings]

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(2, f"chunkscale: error: {message}\nAll options: {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # From Python 3.14 on argparse can make suggestions by itself.
        if action.choices is None or value in action.choices:
            return
        listed = [str(choice) for choice in action.choices]
        hint = _meant(value, listed) or f"; choose from {', '.join(listed)}"
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(None, f"unknown verb {value!r}{hint}")
        raise argparse.ArgumentError(action, f"{value!r} is unknown{hint}")


def parse(parser: Parser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; without a word in it print the help, and end with 2 as well."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2)
    verb = parser.verbs.get(next((word for word in words if not word.startswith("-")), ""), parser)
    # Before argparse: it would miss an argument whose place was taken by the option's value.
    for name in _unknown_options(verb, words, [*parser.options, *verb.options]):
        verb.error(f"unknown option {name}{_meant(name, verb.options)}")
    # And it would take the rest of such a value for a path.
    for whole, first in _torn_values(verb, words):
        verb.error(
            f"unexpected argument {first!r}: a value has no spaces; write {whole}, or ./{first} if "
            "that is a path"
        )
    arguments, rest = parser.parse_known_args(words)
    is_path = rest[:1] == ["--"]
    rest = rest[is_path:]
    if rest and (is_path or rest[0][:1] != "-") and getattr(arguments, "destination", "") is None:
        # Not every argparse takes a last one that may be left out, behind an option or "--".
        arguments.destination = rest.pop(0)
    if rest:
        verb.error(f"unexpected argument {rest[0]!r}; a path with spaces goes in quotes")
    return arguments


def number(text: str) -> float:
    """Return the number that an option takes."""
    try:
        return float(text)
    except ValueError:
        point = f"; write {text.replace(',', '.', 1)}" if text.count(",") == 1 else ""
        raise argparse.ArgumentTypeError(f"{text!r} is not a number{point}") from None


def _unknown_options(verb: Parser, words: Iterable[str], known: Sequence[str]) -> Iterable[str]:
    for word in words:
        if word == "--":
            return
        name = word.partition("=")[0]
        if word.startswith("--") and " " not in name and not any(k.startswith(name) for k in known):
            yield name


def _torn_values(verb: Parser, words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield values with spaces between their parts as they are written, and the first such part."""
    for i, word in enumerate(words):
        if word == "--":
            return
        name, mark, value = word.partition("=")
        action = _option(verb, name) if word.startswith("--") else None
        # Texts that are kept as they are may be lists; whole numbers and choices are not.
        if action is None or action.nargs == 0 or action.type or action.choices:
            continue
        parts = [value] if mark else []
        for part in words[i + 1 :]:
            if not _is_part(part) and not (parts and (part in _UNITS or part in (",", "x"))):
                break
            parts.append(part)
        # Images of a series are called 0, 1 and so on.
        if len(parts) > 1 and _is_part(parts[0]) and not os.path.exists(parts[1]):
            yield f"{name}{mark or ' '}{_joined(parts)}", parts[1]


def _option(verb: Parser, name: str) -> argparse.Action | None:
    """Return an option by its name, which may be cut as far as it is the only one."""
    exact = [action for action in verb._actions if name in action.option_strings]
    found = exact or [
        action
        for action in verb._actions
        if any(text.startswith(name) for text in action.option_strings)
    ]
    return found[0] if len(found) == 1 else None


def _is_part(word: str) -> bool:
    """Whether a word is numbers, lengths, or what an axis has: 1, or 5um,1um, or z=10:50."""
    for piece in filter(None, re.sub("^[a-z]=", "", word).split(",")):
        for end in filter(None, piece.split(":")):
            found = _LENGTH.fullmatch(end)
            if not found or (found[1] and found[1] not in _UNITS):
                return False
    return any(character.isdigit() for character in word)


def _joined(parts: Sequence[str]) -> str:
    """Return the parts of a value as one.

    Examples
    --------
    >>> _joined(["1", "um"]), _joined(["5", "1", "1"]), _joined(["1,", "0.5", "x", "0.5"])
    ('1um', '5,1,1', '1,0.5,0.5')
    """
    text = parts[0]
    for part in parts[1:]:
        text += part if part in _UNITS else f",{part}"
    return re.sub(",+(x,+)?", ",", text).strip(",")


def _meant(typed: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(typed, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
