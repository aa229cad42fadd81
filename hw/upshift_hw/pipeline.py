"""Where the registers of the datapath are: one table from a pipeline's depth to its cuts.

A beat's gradients are registered, aligned, rounded, subtracted and clamped; the row of weights is
read so that it comes just in time for the subtraction. Everything else about time follows.
"""

from dataclasses import dataclass

from upshift.config import UnitConfig


@dataclass(frozen=True)
class Pipeline:
    """Clocks that the parts of the datapath take.

    Attributes
    ----------
    align : int
        1 to 3.
    round : int
        1 or 2; of two, the first finds the half bit and the second applies it.
    clamp : int
        0 if weights are clamped in the clock of the subtraction, 1, or 2 with a clock for each of
        the two limits.
    read : int
        From the row's address to its weights: 1 for the block RAM, 1 for its output register, 1
        for the way from there.
    """

    align: int
    round: int
    clamp: int
    read: int

    @property
    def subtract_stage(self) -> int:
        """Clocks from a beat to its subtraction."""
        return 1 + self.align + self.round

    @property
    def read_stage(self) -> int:
        """Clocks from a beat to the address of its row."""
        return self.subtract_stage - self.read

    @property
    def latency(self) -> int:
        """Clocks from a beat to the write of its weights."""
        return self.subtract_stage + 1 + self.clamp

    @property
    def distance(self) -> int:
        """Clocks from a beat to the first beat that may read what it wrote (P)."""
        return self.latency + 1 - self.read_stage


_BY_DEPTH = {
    4: Pipeline(align=1, round=1, clamp=0, read=1),
    5: Pipeline(align=1, round=1, clamp=1, read=1),
    6: Pipeline(align=2, round=1, clamp=1, read=1),
    7: Pipeline(align=2, round=2, clamp=1, read=2),
    8: Pipeline(align=2, round=2, clamp=2, read=3),
    9: Pipeline(align=3, round=2, clamp=2, read=3),
}


def pipeline_of(config: UnitConfig) -> Pipeline:
    """Return the cuts of a configuration's datapath."""
    return _BY_DEPTH[config.pipeline]
