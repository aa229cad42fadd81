"""The update unit behind standard buses: AXI4-Stream for data, AXI4-Lite for registers."""

from upshift_hw.axi.unit import AxiUnit

__all__ = ["AxiUnit"]
