"""Values of some clocks ago."""

from amaranth.hdl import Signal


def later(m, value, clocks, name):
    """Return what `value` was some clocks before; `name` names the registers."""
    for clock in range(1, clocks + 1):
        register = Signal(value.shape(), name=f"{name}_{clock}")
        m.d.sync += register.eq(value)
        value = register
    return value
