"""Collections for the tests: documents as other programs write them, and images where wanted."""

import json

import numpy as np
from grids import grid_for

from chunkscale.samples import write_image

SHAPE, SIZE = (2, 4, 12, 10), (1.0, 2.0, 0.5, 0.5)


def put(path, attributes, version="0.5"):
    """Write the documents of a group; its NGFF keys where the version has them."""
    path.mkdir(parents=True, exist_ok=True)
    if version == "0.4":
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (path / ".zattrs").write_text(json.dumps(attributes))
        return path
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def ngff(path, inner, version="0.5", **outer):
    return put(path, {**outer, **inner} if version == "0.4" else
               {**outer, "ome": {"version": version, **inner}}, version)  # fmt: skip


def attributes(path):
    """Return the attributes of a group, of either format."""
    if (path / "zarr.json").is_file():
        return json.loads((path / "zarr.json").read_text())["attributes"]
    return json.loads((path / ".zattrs").read_text())


def inner(path):
    found = attributes(path)
    return found.get("ome", found)


def image(path, version="0.5", shape=SHAPE, size=SIZE, seed=0, **options):
    data = np.random.default_rng(seed).integers(1, 200, shape).astype("uint8")
    write_image(path, data, grid_for(shape, size[-len(shape) :]), version=version, **options)
    return path


WELLS = {"B/03": ["0", "1"], "B/04": ["0"], "D/10": ["0", "1", "2"]}


def plate(path, version="0.5", wells=None, made=True, more=None, **keys):
    """Write a plate of 4 rows and 10 columns; its images only if they are to be `made`."""
    wells = WELLS if wells is None else wells
    rows, columns = "ABCD", [f"{k:02}" for k in range(1, 11)]
    listed = []
    for well in wells:
        row, column = well.split("/")
        place = {"rowIndex": rows.index(row), "columnIndex": columns.index(column)}
        listed.append({"path": well, **place})
    stated = {
        "name": "experiment 7",
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": listed,
        "acquisitions": [
            {"id": 0, "name": "first", "maximumfieldcount": 2, "starttime": 1700000000},
            {"id": 5, "name": "second", "maximumfieldcount": 1},
        ],
        "field_count": 3,
        **keys,
    }
    own = {"version": version} if version == "0.4" else {}
    ngff(path, {"plate": stated | own}, version, **(more or {"barcode": 17}))
    for well, fields in wells.items():
        images = [{"path": f, "acquisition": 5 if f == "2" else 0} for f in fields]
        ngff(path / well, {"well": {"images": images} | own}, version, note=well)
        for k, field in enumerate(fields):
            if made:
                image(path / well / field, version, seed=k)
    return path


def series(path, version="0.5", names=("0", "1"), listed=True, xml=None, made=True):
    ngff(path, {"bioformats2raw.layout": 3}, version, lab="B2")
    for k, name in enumerate(names):
        if made:
            image(path / name, version, seed=k)
    (path / "OME").mkdir()
    if listed:
        ngff(path / "OME", {"series": list(names)}, version, note="kept")
    if xml is not None:
        (path / "OME/METADATA.ome.xml").write_text(xml, encoding="utf-8")
    return path


def ome_xml(count, sizes="XYZCT", shape=SHAPE, inside=""):
    """Return OME-XML of as many images, as `image` writes them."""
    c, z, y, x = shape
    planes = "".join(f'<Plane TheZ="{k}" TheC="0" TheT="0"/>' for k in range(z))
    channels = "".join(f'<Channel ID="Channel:@:{k}" Name="dye {k}"/>' for k in range(c))
    images = "".join(
        f'<Image ID="Image:{i}" Name="n&amp;{i}"><Pixels ID="Pixels:{i}" DimensionOrder="{sizes}" '
        f'Type="uint8" SizeX="{x}" SizeY="{y}" SizeZ="{z}" SizeC="{c}" SizeT="1" '
        f'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm" PhysicalSizeZ="2.0">'
        f'{channels.replace("@", str(i))}<TiffData IFD="0"/>{planes}</Pixels></Image>'
        for i in range(count)
    )  # fmt: skip
    return (
        '<?xml version="1.0" encoding="UTF-8"?><!-- of the lab --><OME '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" xmlns:o="urn:other">'
        f"<o:Note>kept</o:Note>{inside}{images}</OME>"
    )
