"""Metadata of plates and wells that are made from others, by the rules of their version.

The path of a well says which row and column it is in: readers go by it, and its indices follow it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chunkscale.errors import Notice
from chunkscale.ome.carry import json_safe, mended_notice
from chunkscale.ome.display import as_text, mend, whole_number
from chunkscale.ome.entries import mappings, or_empty, plain_path, short
from chunkscale.ome.versions import ngff_namespace
from chunkscale.ome.write import beside_unknown

LAYOUT = "bioformats2raw.layout"

#: The only one that there is.
_LAYOUT_NUMBER = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeWell:
    """What was made of a well.

    Parameters
    ----------
    path : str
    fields : int
    acquisitions : mapping of int to int
        How many fields by acquisition; None for those that name none.
    whole : bool
        Whether these are all fields of the source's well.
    """

    path: str
    fields: int
    acquisitions: Mapping[int | None, int]
    whole: bool


def mirrored_well(
    attributes: Mapping[str, Any], version: str, path: str, made: Collection[str]
) -> tuple[dict[str, Any], MadeWell, tuple[Notice, ...]]:
    """Return the attributes of a well with the fields that were made, and what is in it.

    Parameters
    ----------
    attributes : mapping
        All attributes of the source's well, in any version.
    version : str
        ``"0.4"``, ``"0.5"`` or ``"0.6"``.
    path : str
        Of the well, in the plate.
    made : collection of str
        Paths of the fields.
    """
    attributes, notices = json_safe(attributes)
    well = dict(ngff_namespace(attributes)["well"])
    wrong: list[str] = []
    fields: dict[str, dict[str, Any]] = {}
    listed = [{**entry, "path": plain_path(entry["path"])} for entry in mappings(well["images"])]
    for field in listed:
        if field["path"] in made and field["path"] not in fields:
            fields[field["path"]] = _mended(field, "images[].", wrong.append, acquisition=_id)
    well["images"] = list(fields.values())
    well.pop("version", None)
    if version == "0.4":  # later ones say it beside
        well["version"] = version
    result = beside_unknown(attributes, version, {"well": well})
    found = MadeWell(
        path=path,
        fields=len(fields),
        acquisitions=Counter(field.get("acquisition") for field in fields.values()),
        whole=len(fields) == len({field["path"] for field in listed}),
    )
    return result, found, (*notices, *mended_notice("well", wrong))


def mirrored_plate(
    attributes: Mapping[str, Any], version: str, wells: Sequence[MadeWell], name: str
) -> tuple[dict[str, Any], tuple[Notice, ...]]:
    """Return the attributes of a plate with the wells that were made.

    Rows and columns stay as they are, so that indices stay true; what counts fields is counted
    anew, and an acquisition goes if it has lost its fields.

    Parameters
    ----------
    attributes : mapping
        All attributes of the source's plate, in any version.
    version : str
        ``"0.4"``, ``"0.5"`` or ``"0.6"``.
    wells : sequence of MadeWell
    name : str
        Of the plate, if it has none.
    """
    attributes, notices = json_safe(attributes)
    ngff = ngff_namespace(attributes)
    wrong: list[str] = []
    say = wrong.append
    plate = _mended(ngff["plate"], "", say, name=as_text)
    plate.setdefault("name", name)
    made = {well.path: well for well in wells}
    listed: dict[str, Mapping[str, Any]] = {}
    for entry in mappings(plate["wells"]):
        listed.setdefault(plain_path(entry["path"]), entry)
    rows, columns = (_named(plate.get(key), key, say) for key in ("rows", "columns"))
    plate["wells"] = [
        _placed(entry, path, rows, columns, say) for path, entry in listed.items() if path in made
    ]
    plate["rows"], plate["columns"] = list(rows.values()), list(columns.values())
    plate["field_count"] = max(well.fields for well in wells)
    if plate.get("acquisitions") is None:
        plate.pop("acquisitions", None)
    else:
        whole = len(made) == len(listed) and all(well.whole for well in wells)
        plate["acquisitions"] = _acquisitions(plate, wells, whole, say)
    # In 0.5, too: not all readers look for it beside.
    plate["version"] = version
    inner = {"plate": plate} | layout_of(attributes)
    notices += mended_notice("the plate", wrong)
    return beside_unknown(attributes, version, inner), notices


def layout_of(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Return what says that the group ``OME`` belongs to a collection, where it says so."""
    return {LAYOUT: _LAYOUT_NUMBER} if LAYOUT in ngff_namespace(attributes) else {}


def _mended(
    entry: Mapping[str, Any], where: str, say: Say, **how: Callable[[object], object]
) -> dict[str, Any]:
    """Return an entry whose values are of the kind that they must be; null says nothing."""
    result = {key: value for key, value in entry.items() if value is not None or key not in how}
    mend(result, where, say, **how)
    return result


def _id(value: object) -> int | None:
    found = whole_number(value)
    return found if found is not None and found >= 0 else None


#: Of what kind the values of an acquisition are.
_ACQUISITION: dict[str, Callable[[object], object]] = {
    **dict.fromkeys(("id", "starttime", "endtime", "maximumfieldcount"), _id),
    **dict.fromkeys(("name", "description"), as_text),
}


def _named(value: object, what: str, say: Say) -> dict[str, dict[str, Any]]:
    """Return the rows or columns of a plate by their names."""
    found: dict[str, dict[str, Any]] = {}
    for entry in or_empty(value):
        name = as_text(entry.get("name")) if isinstance(entry, Mapping) else None
        if name is None or name in found:
            say(f"{what} has the entry {short(entry)} (left out)")
        else:
            found[name] = {**entry, "name": name}
    return found


def _placed(
    entry: Mapping[str, Any],
    path: str,
    rows: dict[str, dict[str, Any]],
    columns: dict[str, dict[str, Any]],
    say: Say,
) -> dict[str, Any]:
    """Return a well with the indices that its path has; a row that is missing is added."""
    names = path.split("/")
    result = {**entry, "path": path}
    if len(names) != 2:
        say(f"the path of the well {path!r} is not of the form row/column")
        return result | {key: _id(entry.get(key)) or 0 for key in ("rowIndex", "columnIndex")}
    for key, name, known in (
        ("rowIndex", names[0], rows),
        ("columnIndex", names[1], columns),
    ):
        if name not in known:
            known[name] = {"name": name}
            say(f"no {key.removesuffix('Index')} is called {name!r} (added, for {path!r})")
        index = list(known).index(name)
        if whole_number(entry.get(key, index)) != index:
            say(f"{key} of {path!r} is {short(entry[key])}, and {name!r} is number {index}")
        result[key] = index
    return result


def _acquisitions(
    plate: Mapping[str, Any], wells: Sequence[MadeWell], whole: bool, say: Say
) -> list[dict[str, Any]]:
    counted: dict[int | None, int] = {}
    for well in wells:
        for number, fields in well.acquisitions.items():
            counted[number] = max(fields, counted.get(number, 0))
    found: dict[int, dict[str, Any]] = {}
    for stated in or_empty(plate["acquisitions"]):
        number = _id(stated.get("id")) if isinstance(stated, Mapping) else None
        if number is None or number in found:
            say(f"acquisitions has the entry {short(stated)} (left out)")
            continue
        entry = _mended(stated, "acquisitions[].", say, **_ACQUISITION)
        # Fields that name no acquisition may be of any.
        fields = counted.get(number, counted.get(None, 0))
        if whole:
            most = max(fields, entry.get("maximumfieldcount", 0)) or plate["field_count"]
            found[number] = entry | {"maximumfieldcount": most}
        elif fields:
            found[number] = entry | {"maximumfieldcount": fields}
    for missing in sorted(n for n in counted if n is not None and n not in found):
        say(f"acquisitions does not have {missing}, which wells name (added)")
        found[missing] = {"id": missing, "maximumfieldcount": counted[missing]}
    return [{"name": str(number), **entry} for number, entry in found.items()]
