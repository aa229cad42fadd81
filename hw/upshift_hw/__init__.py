"""The gateware of the update unit, in Amaranth."""

from upshift_hw.unit import UpdateUnit

__all__ = ["UpdateUnit"]
