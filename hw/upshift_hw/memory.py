"""The weight memory: one block RAM bank per lane, one row address for all."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift_hw.shapes import shape_of


class WeightMemory(wiring.Component):
    """Hold ``config.depth`` weights, one row per address.

    Read latency one clock; a row read in the clock in which a lane of it is written has the old
    weight in that lane. Contents survive reset.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    read_enable, read_row : In
        Read a row. `read_weights` keeps its value while `read_enable` is low.
    read_weights : Out
        The row, one clock later.
    write_row, write_mask, write_weights : In
        Write the lanes in the mask.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        row = layout.row_bits(config)
        weights = data.ArrayLayout(shape_of(config.weight), config.lanes)
        super().__init__(
            {
                "read_enable": In(1),
                "read_row": In(row),
                "read_weights": Out(weights),
                "write_row": In(row),
                "write_mask": In(config.lanes),
                "write_weights": In(weights),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for lane in range(self.config.lanes):
            bank = Memory(shape=shape_of(self.config.weight), depth=self.config.rows, init=[])
            m.submodules[f"bank{lane}"] = bank
            read = bank.read_port()
            write = bank.write_port()
            m.d.comb += [
                read.en.eq(self.read_enable),
                read.addr.eq(self.read_row),
                self.read_weights[lane].eq(read.data),
                write.en.eq(self.write_mask[lane]),
                write.addr.eq(self.write_row),
                write.data.eq(self.write_weights[lane]),
            ]
        return m
