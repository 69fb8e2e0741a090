"""The directive ``command-line``: the reference of every verb and option, from the real parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape

from chunkscale.cli.arguments import make_parser


def _signature(action: argparse.Action) -> str:
    """Return an option as it is typed, with what it takes."""
    takes = action.metavar
    if takes is None and action.choices is not None:
        takes = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return str(takes or action.dest)
    taking = f" {takes}" if takes and action.nargs != 0 else ""
    return ", ".join(f"{option}{taking}" for option in action.option_strings)


def _group(title: str, actions: list[argparse.Action]) -> Iterator[str]:
    shown = [a for a in actions if a.help is not argparse.SUPPRESS]
    if not shown:
        return
    yield from (f".. rubric:: {title[0].upper()}{title[1:]}", "")
    for action in shown:
        yield from (f".. option:: {_signature(action)}", "")
        yield from (f"   {escape((action.help or '') % vars(action))}", "")


def _verb(name: str, verb: argparse.ArgumentParser) -> Iterator[str]:
    yield from (name, "-" * len(name), "", f".. program:: {verb.prog}", "")
    yield from (escape(verb.description or ""), "", ".. code-block:: text", "")
    yield from (f"   {line}" for line in verb.format_usage().splitlines())
    yield ""
    for group in verb._action_groups:
        yield from _group(group.title or "", group._group_actions)
    if verb.epilog:
        _, _, example = verb.epilog.partition("\n")
        yield from (".. rubric:: Example", "", ".. code-block:: text", "", f"   {example}", "")


def described(parser: argparse.ArgumentParser) -> str:
    """Return the reference of a parser with verbs, as reStructuredText."""
    verbs: Any = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    lines = [escape(parser.description or ""), ""]
    lines += [f".. program:: {parser.prog}", ""]
    lines += _group("options", [a for a in parser._actions if a.option_strings])
    for name, verb in verbs.choices.items():
        lines += _verb(name, verb)
    lines += ["Exit codes", "----------", "", escape(parser.epilog or ""), ""]
    return "\n".join(lines)


class CommandLine(SphinxDirective):
    """Write the reference of the command line."""

    def run(self) -> list[nodes.Node]:
        text = described(make_parser())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
