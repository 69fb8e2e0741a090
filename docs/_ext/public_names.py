"""The directive ``public``: reference entries of the names in ``chunkscale.__all__``.

``.. public:: functions`` has the functions, ``classes`` and ``errors`` the others, so that each
public name is somewhere on the page that has all three.
"""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import chunkscale

_KINDS = ("functions", "classes", "errors")


def kind_of(value: Any) -> str | None:
    """Return where a public name belongs; None for what is no function and no class."""
    if inspect.isclass(value):
        return "errors" if issubclass(value, Exception) else "classes"
    return "functions" if inspect.isfunction(value) else None


def names_of(kind: str) -> list[str]:
    return [name for name in chunkscale.__all__ if kind_of(getattr(chunkscale, name)) == kind]


class Public(SphinxDirective):
    """Write the reference of one kind of names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        if kind not in _KINDS:
            raise self.error(f"{kind!r} is none of {', '.join(_KINDS)}")
        lines = []
        for name in names_of(kind):
            if kind == "functions":
                lines += [f".. autofunction:: chunkscale.{name}", ""]
                continue
            shown = (
                [":show-inheritance:"] if kind == "errors" else [":members:", ":inherited-members:"]
            )
            lines += [f".. autoclass:: chunkscale.{name}", *(f"   {o}" for o in shown), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("public", Public)
    return {"parallel_read_safe": True}
