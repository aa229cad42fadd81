"""Alignment of a gradient to the weight's point: where the learning rate is applied.

The shifter is the only part of a lane that knows the gradient's format. It leaves one bit below
the weight's point, which is all that rounding half up needs, and saturates to two bits more than
the weight has, beyond which every step clamps the weight anyway. There is one body for
fixed-point gradients and one for floating-point ones; both have the same ports.
"""

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.align.fixed import FixedAlign
from upshift_hw.align.floating import FloatAlign

__all__ = ["FixedAlign", "FloatAlign", "align"]


def align(config: UnitConfig, stages: int = 1) -> FixedAlign | FloatAlign:
    """Return the component that aligns gradients of the configuration's format.

    Parameters
    ----------
    config : UnitConfig
    stages : int
        Clocks that it takes, 1 to 3: its `latency`.

    Raises
    ------
    ValueError
        If `stages` is not 1 to 3.
    """
    body = FixedAlign if isinstance(config.gradient, Fixed) else FloatAlign
    return body(config, stages)
