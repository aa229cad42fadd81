"""Upshift: train neural networks with shifts, masks and adds, at a resolution that rises.

The package holds the software half: number formats, the exact integer model of the update
unit, the learning equation in torch, resolution policies, optimizers, devices and the command
line. It imports neither Amaranth nor cocotb, and torch only in `upshift.equation` and
`upshift.optim`.
"""

__version__ = "0.1.0"
