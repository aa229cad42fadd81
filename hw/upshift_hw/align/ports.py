"""What both bodies of the alignment have in common: their ports."""

from amaranth.hdl import signed
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.shapes import shape_of


def ports(config: UnitConfig, stages: int):
    """Return the members of an alignment.

    Raises
    ------
    ValueError
        If `stages` is not 1 to 3.
    """
    if not 1 <= stages <= 3:
        raise ValueError(f"stages {stages} is not allowed: 1 to 3")
    rate = next(f for f in layout.command(config) if f.name == "rate")
    return {
        "gradient": In(shape_of(config.gradient)),
        "rate": In(rate.width),
        "steps": Out(signed(config.weight.width + 2)),
    }
