"""The gateware of the update unit, in Amaranth: `upshift_hw.unit.UpdateUnit` and its parts."""
