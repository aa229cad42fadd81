"""What the bench of the shell must have met when it has played all of its scenarios."""

from __future__ import annotations

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.registers import Fault, ShellOperation
from upshift.words import word_bytes

BUS_RESET, SOFT_RESET = "reset from the bus in a burst", "reset by the register in a burst"


def padded(config: UnitConfig) -> bool:
    """Return whether the bench can send gradients that do not fit their format."""
    width = config.gradient.width
    narrow = isinstance(config.gradient, Fixed) and width < 8 * word_bytes(width)
    return narrow and config.memory == "resident"


def operation(kind: ShellOperation) -> str:
    """Return the bin of an operation."""
    return f"operation {kind.name}"


def faults(found: Fault) -> list[str]:
    """Return the bins of the faults that are set."""
    return [f"fault {fault.name}" for fault in Fault if fault in found]


def required(config: UnitConfig) -> set[str]:
    """Return the bins that must not stay empty."""
    kinds = set(ShellOperation)
    if config.memory == "streamed":
        kinds -= {ShellOperation.WRITE, ShellOperation.READ}
    possible = ~Fault(0) if padded(config) else ~Fault.PADDING
    return {BUS_RESET, SOFT_RESET, *map(operation, kinds), *faults(possible)}
