"""Files of microscopes, made for tests."""

import struct
import uuid
from xml.sax.saxutils import quoteattr

import numpy as np


def write_czi(path, data, names=("DAPI", "GFP"), sizes=(1e-6, 0.2e-6, 0.2e-6)):
    """Write an array of shape (t, c, z, y, x) with pylibCZIrw; sizes in metres by z, y, x."""
    from pylibCZIrw import czi

    with czi.create_czi(str(path)) as file:
        for t, c, z in np.ndindex(data.shape[:3]):
            file.write(data=data[t, c, z][..., None], plane={"T": t, "C": c, "Z": z})
        scale = (
            {}
            if sizes is None
            else dict(zip(("scale_z", "scale_y", "scale_x"), sizes, strict=True))
        )
        file.write_metadata("image", channel_names=dict(enumerate(names)), **scale)


#: Number of an axis in the XML of LIF.
_LIF_AXES = {"x": 1, "y": 2, "z": 3, "t": 4}


def write_lif(path, series, sizes):
    """Write series of (c, z, y, x) or (t, c, z, y, x) by name, with metres or seconds by axis."""
    images, blocks = [], []
    for k, (name, data) in enumerate(series.items()):
        block = np.ascontiguousarray(np.moveaxis(data, -4, 0))  # a channel is in one piece
        axes = dict(zip("tzyx"[-block.ndim + 1 :], block.shape[1:], strict=True))
        steps = dict(zip("tzyx"[-block.ndim + 1 :], block.strides[1:], strict=True))
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" '
            f'NameOfMeasuredQuantity="" Min="0" Max="65535" Unit="" LUTName="Dye{c}" '
            f'IsLUTInverted="0" BytesInc="{c * block.strides[0]}" BitInc="0"/>'
            for c in range(len(block))
        )
        dims = "".join(
            f'<DimensionDescription DimID="{_LIF_AXES[axis]}" NumberOfElements="{axes[axis]}" '
            f'Origin="0" Length="{sizes[axis] * (axes[axis] - 1)!r}" '
            f'Unit="{"s" if axis == "t" else "m"}" BytesInc="{steps[axis]}" BitInc="0"/>'
            for axis in "xyzt"
            if axis in axes
        )
        images.append(
            f'<Element Name={quoteattr(name)} Visibility="1" UniqueID="{uuid.UUID(int=k)}"><Data>'
            f'<Image TextDescription=""><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{dims}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{block.nbytes}" MemoryBlockID="MemBlock_{k}"/><Children/></Element>'
        )
        blocks.append((f"MemBlock_{k}", block.tobytes()))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="test" Visibility="1" '
        f'UniqueID="{uuid.UUID(int=99)}"><Data><Experiment/></Data>'
        '<Memory Size="0" MemoryBlockID="MemBlock_none"/>'
        f"<Children>{''.join(images)}</Children></Element></LMSDataContainerHeader>"
    )
    with open(path, "wb") as file:
        text = xml.encode("utf-16-le")
        file.write(struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(xml)) + text)
        for name, content in [("MemBlock_none", b""), *blocks]:
            head = struct.pack("<BQBI", 0x2A, len(content), 0x2A, len(name))
            head += name.encode("utf-16-le")
            file.write(struct.pack("<II", 0x70, len(head)) + head + content)
