"""Proofs about the gateware: what is claimed, and a solver that finds no way around it.

`equation` is the specification, `arithmetic` and `control` say what is claimed of the parts that
calculate and of the control around them, `catalogue` lists the proofs by name, and `proof` carries
one out. ``python -m upshift_sim.formal`` is the command.
"""

from upshift_sim.formal.catalogue import catalogue
from upshift_sim.formal.claims import Claims
from upshift_sim.formal.proof import Proof, Result, check

__all__ = ["Claims", "Proof", "Result", "catalogue", "check"]
