"""Amaranth shapes of the number formats and payloads that `upshift` describes."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from upshift.formats import Fixed, Format
from upshift.layout import Fields


def shape_of(fmt: Format) -> Shape:
    """Return the shape of a raw word of `fmt`."""
    return signed(fmt.width) if isinstance(fmt, Fixed) else unsigned(fmt.width)


def layout_of(fields: Fields) -> data.StructLayout:
    """Return the layout of a payload, first field in the least significant bits."""
    return data.StructLayout(
        {f.name: signed(f.width) if f.signed else unsigned(f.width) for f in fields}
    )
