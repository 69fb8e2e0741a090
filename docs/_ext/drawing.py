"""The directive ``drawing``: a picture of `drawings`, as SVG in the page itself.

In the page it takes the colours of the theme, light or dark; as a file it could not.
"""

from __future__ import annotations

from docutils import nodes
from drawings import DRAWINGS
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Drawing(SphinxDirective):
    """Draw a picture; the content of the directive is its caption."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in DRAWINGS:
            raise self.error(f"there is no drawing {name!r}, only {', '.join(DRAWINGS)}")
        self.env.note_dependency(DRAWINGS[name].__code__.co_filename)
        figure = nodes.container(classes=["drawing"])
        figure += nodes.raw("", DRAWINGS[name](), format="html")
        figure += self.parse_content_to_nodes()
        return [figure]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True}
