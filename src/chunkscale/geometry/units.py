"""Units of length, however they are spelled."""

from __future__ import annotations

METRES = {
    "yoctometer": 1e-24,
    "zeptometer": 1e-21,
    "attometer": 1e-18,
    "femtometer": 1e-15,
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "micron": 1e-6,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "nm": 1e-9,
    "mm": 1e-3,
    "cm": 1e-2,
    "m": 1.0,
    "pm": 1e-12,
    "Å": 1e-10,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "decimeter": 1e-1,
    "meter": 1.0,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "dekameter": 1e1,
    "hectometer": 1e2,
    "kilometer": 1e3,
    "megameter": 1e6,
}


def metres(unit: str | None) -> float | str | None:
    """Return how long a unit of length is, however it is spelled; any other one as it is."""
    return unit if unit is None else METRES.get(unit, unit)
