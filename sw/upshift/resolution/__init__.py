"""Resolution policies: which q the learning equation uses, and why it rises.

A policy is stateful and never lets q fall. The optimizer asks it for every parameter tensor, in
parameter order, with the smallest q at which that tensor's step would not vanish; the user calls
`step` once per epoch, beside the learning-rate scheduler. One policy belongs to one optimizer.
"""

from upshift.resolution._authors import Authors
from upshift.resolution._band import Band
from upshift.resolution._constant import Constant
from upshift.resolution._loglog import LogLog
from upshift.resolution._needed import resolution_needed
from upshift.resolution._policy import Policy
from upshift.resolution._rule import Rule

__all__ = ["Authors", "Band", "Constant", "LogLog", "Policy", "Rule", "resolution_needed"]
