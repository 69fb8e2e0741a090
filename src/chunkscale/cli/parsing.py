"""A parser that says what was probably meant, with the usage of the verb that was typed."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn


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


def _meant(typed: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(typed, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
