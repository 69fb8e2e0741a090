"""The same facts for a notebook: tables by axis.

Colours are left to the notebook, whose theme may be dark.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from chunkscale.report.images import image_format, level_rows, member_rows
from chunkscale.report.plans import (
    alike_rows,
    collection_notes,
    collection_rows,
    how,
    plan_rows,
    source_title,
)
from chunkscale.report.runs import checked, made_text, time_lines, verdict
from chunkscale.report.words import Facts, common_unit, position, unit_of, with_unit
from chunkscale.text import escaped, human_bytes, number

_LEFT = "text-align:left"
_RIGHT = "text-align:right"
_GAP = ";padding-left:2em"


def plan_html(plan: Facts, chunk: Sequence[int]) -> str:
    """Return the facts of a plan for a notebook; `chunk` is that of the source."""
    source, target, first = plan["source"], plan["target"], plan["levels"][0]
    whole = [
        ("source", {**source, "chunk": chunk, "shard": None}),
        ("target", {**target, "chunk": first["chunk"], "shard": first["shard"]}),
    ]
    rows = [("source", source_title(plan)), ("only", source["part"]), ("method", how(plan))]
    return _page(
        _rows([row for row in rows if row[1]]),
        _by_axis(whole),
        _levels(plan["levels"], target) if len(plan["levels"]) > 1 else "",
        _rows(plan_rows(plan)),
        *_notes(plan["warnings"]),
    )


def collection_html(plan: Facts) -> str:
    """Return the facts of the plan of a collection for a notebook."""
    head, *rows = alike_rows(plan)
    notes = (_paragraph(text) for text in collection_notes(plan))
    return _page(_rows(collection_rows(plan)), _table(head, rows), *notes)


def image_html(facts: Facts, thumbnail: bytes | None = None) -> str:
    """Return the facts of an image for a notebook; `thumbnail` is a PNG."""
    size = f"{facts['dtype']}, {human_bytes(facts['bytes'])}"
    rows = [
        ("path", facts["path"]),
        ("name", facts.get("name") or ""),
        ("only", facts.get("part_text", "")),
        ("format", image_format(facts)),
        ("data", size),
        ("codec", facts.get("codec", "")),
        ("channels", ", ".join(facts["channels"])),
        ("labels", ", ".join(name.removeprefix("labels/") for name in facts.get("labels", ()))),
        ("coordinates", facts.get("coordinates", "")),
    ]
    levels = facts.get("levels", ())
    stored = {key: levels[0][key] for key in ("chunk", "shard")} if levels else {}
    head, *members = member_rows(facts.get("label_images", ()), "labels") or [[]]
    text = _page(
        _rows([row for row in rows if row[1]]),
        _by_axis([("", {**facts, **stored})]),
        _levels(levels, facts) if len(levels) > 1 else "",
        _table(head, members) if members else "",
        *_notes(facts["warnings"]),
    )
    if thumbnail is None:
        return text
    data = base64.b64encode(thumbnail).decode()
    # Not beside one another with "flex", which notebooks that are not trusted take away.
    picture = f'<img alt="thumbnail" src="data:image/png;base64,{data}" style="margin:0.5em 0">'
    return f"{picture}{text}"


def run_html(run: Facts) -> str:
    """Return the facts of a finished run for a notebook."""
    stored = f"{human_bytes(run['stored_bytes'])} stored"
    rows = [("output", run["path"]), ("", f"{made_text(run)}, {stored}")]
    rows += [
        ("" if k else "labels", f"{label['path']}: {human_bytes(label['stored_bytes'])} stored")
        for k, label in enumerate(run.get("labels", ()))
    ]
    rows += [("" if k else "time", text) for k, text in enumerate(time_lines(run))]
    grid = _by_axis([("", run["target"])]) if "target" in run else ""
    return _page(_rows(rows), grid, *_notes(run.get("notices", ())))


def check_html(report: Facts) -> str:
    """Return the facts of a check for a notebook."""
    rows = [("checked", report["path"]), ("result", verdict(report)), ("", checked(report))]
    rows += [("fault", text) for text in report["faults"]]
    rows += [("note", text) for text in report["notes"]]
    return _page(_rows(rows))


def _by_axis(grids: Sequence[tuple[str, Facts]]) -> str:
    """Return grids side by side, an axis a column, under their titles."""
    unit = common_unit(*(grid for _, grid in grids))
    shown = f" ({unit})" if unit else ""
    rows = [
        _cells("voxels", [list(map(str, grid["shape"])) for _, grid in grids]),
        _cells(f"voxel size{shown}", [_lengths(grid, "size", unit) for _, grid in grids]),
        _cells(f"extent{shown}", [_lengths(grid, "extent", unit) for _, grid in grids]),
        _cells(f"translation{shown}", [_lengths(grid, "place", unit) for _, grid in grids]),
    ]
    for name in ("chunk", "shard"):
        found = [grid.get(name) for _, grid in grids]
        if any(found):
            blank = [[""] * len(grid["axes"]) for _, grid in grids]
            stored = [
                list(map(str, one)) if one else none for one, none in zip(found, blank, strict=True)
            ]
            rows.append(_cells(name, stored))
    axes = [[axis["name"] for axis in grid["axes"]] for _, grid in grids]
    titles = ""
    if len(grids) > 1:
        spans = "".join(
            f'<th colspan="{len(names)}" style="text-align:center">{_plain(title)}</th>'
            for (title, _), names in zip(grids, axes, strict=True)
        )
        titles = f"<tr><th></th>{spans}</tr>"
    head = f"<thead>{titles}{_cells('', axes, 'th')}</thead>"
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _lengths(grid: Facts, what: str, unit: str | None) -> list[str]:
    """Return the voxel size, the extent or the translation along each axis.

    Lengths of space have their unit where the whole table has none; time has always its own.
    """
    found = []
    for i, axis in enumerate(grid["axes"]):
        size = grid["voxel_size"][i]
        value = {
            "size": size,
            "extent": grid["shape"][i] * size,
            "place": float(position(grid["translation"][i], size)),
        }[what]
        if axis["type"] == "space":
            found.append(number(value) if unit is not None else with_unit(value, axis))
        elif axis["type"] == "time" and unit_of(axis):
            found.append(with_unit(value, axis))
        else:
            found.append("")
    return found


def _cells(title: str, groups: Sequence[Sequence[str]], tag: str = "td") -> str:
    """Return a row of numbers; groups stand apart."""
    text = f'<th style="{_LEFT}">{_plain(title)}</th>'
    for group in groups:
        for k, cell in enumerate(group):
            apart = _GAP if len(groups) > 1 and not k else ""
            text += f'<{tag} style="{_RIGHT}{apart}">{_plain(cell)}</{tag}>'
    return f"<tr>{text}</tr>"


def _levels(levels: Sequence[Facts], grid: Facts) -> str:
    head, *rows = level_rows(levels, grid)
    unit = common_unit(grid)
    lengths = {"voxel size", "translation"}
    titles = [f"{name} ({unit})" if unit and name in lengths else name for name in head]
    return _table(titles, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    titles = "".join(f'<th style="{_LEFT}">{_plain(text)}</th>' for text in head)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_LEFT}">{_plain(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    """Return names and what they are, line by line."""
    body = "".join(
        f'<tr><th style="{_LEFT}">{_plain(name)}</th><td style="{_LEFT}">{_plain(text)}</td></tr>'
        for name, text in rows
    )
    return f"<table><tbody>{body}</tbody></table>"


def _notes(warnings: Iterable[str]) -> list[str]:
    return [_paragraph(f"warning: {text}") for text in warnings]


def _paragraph(text: str) -> str:
    return f"<p>{_plain(text)}</p>"


def _plain(text: str) -> str:
    return html.escape(escaped(text))


def _page(*parts: str) -> str:
    return f"<div>{''.join(parts)}</div>"
