"""What a shell needs to complete verbs, options, their words and paths."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

from chunkscale.errors import OptionError

SHELLS = ("bash", "zsh", "fish", "tcsh")

#: Placeholders of the help that stand for paths; an OME-Zarr image is a folder or a file.
_PATHS = ("SRC", "DST", "OTHER", "FILE", "ADDRESS|FILE")


class PrintCompletion(argparse.Action):
    """Prints the script for a shell, and ends."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        try:
            print(script(parser, values))
        except OptionError as error:
            parser.exit(2, f"chunkscale: error: {error}\n")
        parser.exit()


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell.

    Raises
    ------
    OptionError
        If shtab, which writes it, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise OptionError(
            "shtab, which writes the script, is not installed; pip install 'chunkscale[completion]'"
        ) from error
    for action in _actions(parser):
        if action.help not in (None, argparse.SUPPRESS):
            # zsh and fish show it beside every word.
            action.help = re.split(r": | \(|; ", str(action.help))[0]
        if action.metavar in _PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
