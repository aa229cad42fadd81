"""Torch optimizers whose steps are quantized at a resolution that rises."""

from upshift.optim.sgd import QtSGD
from upshift.resolution import Band, Constant

__all__ = ["Band", "Constant", "QtSGD"]
