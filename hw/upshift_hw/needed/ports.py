"""What both bodies of q_min have in common: their ports."""

from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.shapes import shape_of


def ports(config: UnitConfig):
    """Return the members of a component that finds q_min."""
    rate = next(f for f in layout.command(config) if f.name == "rate")
    return {
        "gradients": In(data.ArrayLayout(shape_of(config.gradient), config.lanes)),
        "mask": In(config.lanes),
        "rate": In(rate.width),
        "valid": Out(1),
        "needed": Out(signed(layout.needed_bits(config))),
    }
