"""The strict JSON schemas of the specification, which ngff-zarr carries."""

import importlib.util
import json
from pathlib import Path

import pytest


def schema_faults(attributes, version, schema):
    """Return what a schema finds wrong with the attributes of a group; skip where there is none."""
    jsonschema = pytest.importorskip("jsonschema")
    referencing = pytest.importorskip("referencing")
    from referencing.jsonschema import DRAFT202012

    spec = importlib.util.find_spec("ngff_zarr")
    folder = Path(spec.origin).parent / "spec" / version / "schemas" if spec else Path("none")
    if not folder.is_dir():
        pytest.skip("no JSON schemas here")
    schemas = {p.stem: json.loads(p.read_text()) for p in folder.glob("*.schema")}
    registry = referencing.Registry().with_resources(
        (s["$id"], DRAFT202012.create_resource(s)) for s in schemas.values()
    )
    check = jsonschema.Draft202012Validator(schemas[schema], registry=registry)
    return [error.message for error in check.iter_errors(attributes)]
