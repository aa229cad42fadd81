"""Torch optimizers whose steps are quantized at a resolution that rises."""

from upshift.optim.adam import QtAdam
from upshift.optim.sgd import QtSGD
from upshift.resolution import Authors, Band, Constant, LogLog

__all__ = ["Authors", "Band", "Constant", "LogLog", "QtAdam", "QtSGD"]
