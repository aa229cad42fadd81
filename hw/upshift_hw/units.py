"""Which component a configuration asks for, and how long it takes."""

from typing import NamedTuple

from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift_hw.pipeline import pipeline_of
from upshift_hw.row_queue import RowQueue
from upshift_hw.streamed import StreamedUnit
from upshift_hw.unit import UpdateUnit


def unit_of(config: UnitConfig, init: Raw | None = None) -> UpdateUnit | StreamedUnit:
    """Return the unit that `config` describes.

    Parameters
    ----------
    config : UnitConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights that a resident unit holds at first.

    Raises
    ------
    ValueError
        If weights are given for a unit that holds none, or do not fit the one that does.
    """
    if config.memory == "resident":
        return UpdateUnit(config, init)
    if init is not None:
        raise ValueError("a unit of streamed weights holds none: there is nothing to initialise")
    return StreamedUnit(config)


class Timing(NamedTuple):
    """The clocks between the events of a unit's beats, as the unit itself states them."""

    latency: int
    """From a beat to the write of its weights; where they stream, to the clock that offers them."""
    distance: int
    """From a beat to the first that may read what it wrote."""


def timing_of(config: UnitConfig) -> Timing:
    """Return the timing of the unit that `config` describes, without making one."""
    pipeline = pipeline_of(config)
    if config.memory == "resident":
        return Timing(pipeline.latency, pipeline.distance)
    return Timing(pipeline.latency + RowQueue.latency, StreamedUnit.distance)
