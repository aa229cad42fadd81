"""The smallest resolution at which a burst would change something (q_min), without a search.

Each component finds it for the gradients of one beat; over a burst it is a minimum. There is one
body for fixed-point gradients and one for floating-point ones; both have the same ports.
"""

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw.needed.fixed import FixedNeeded
from upshift_hw.needed.floating import FloatNeeded

__all__ = ["FixedNeeded", "FloatNeeded", "needed_resolution"]


def needed_resolution(config: UnitConfig) -> FixedNeeded | FloatNeeded:
    """Return the component that finds q_min for gradients of the configuration's format."""
    body = FixedNeeded if isinstance(config.gradient, Fixed) else FloatNeeded
    return body(config)
