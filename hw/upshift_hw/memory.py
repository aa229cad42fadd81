"""The weight memory: one bank of block RAM per lane, one row address for all.

There are two bodies. The one in this file describes what a bank does, and is what simulators,
proofs and exported Verilog see. The one in `upshift_hw.dp16kd` places the block RAMs of an ECP5,
because Yosys does not use their output registers.
"""

from typing import Literal

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.formats import Raw
from upshift_hw import dp16kd
from upshift_hw.delay import later
from upshift_hw.families import is_ecp5
from upshift_hw.pipeline import pipeline_of
from upshift_hw.shapes import shape_of

Ram = Literal["inferred", "dp16kd"]
"""How the banks are made: found by synthesis in a description, or placed as blocks of an ECP5."""


class WeightMemory(wiring.Component):
    """Hold ``config.depth`` weights, one row per address.

    A lane that is read in the clock in which it is written may come out as anything; the unit
    never uses such a weight. Contents survive reset.

    Parameters
    ----------
    config : UnitConfig
    init : ndarray of int64, shape (depth,), optional
        Raw weights at power-up; unknown if left out.
    ram : {"inferred", "dp16kd"}, optional
        How the banks are made. Left out, the platform decides.

    Attributes
    ----------
    latency : int
        Clocks from `read_row` to `read_weights`, 1 or 2, after the depth of the pipeline.

    Members
    -------
    read_enable, read_row : In
        Read a row. `read_weights` keeps its value while `read_enable` is low.
    read_weights : Out
        The row, `latency` clocks later.
    write_row, write_mask, write_weights : In
        Write the lanes in the mask.
    host_write, host_mask, host_weights : In
        Write these lanes of `read_row`, in a clock with `read_enable` and without other writes.
        `read_weights` may become anything.
    """

    def __init__(self, config: UnitConfig, init: Raw | None = None, ram: Ram | None = None):
        self.config = config
        self.latency = min(pipeline_of(config).read, 2)
        self._ram = ram
        self._init = None if init is None else config.weight.check(init)
        if self._init is not None and self._init.shape != (config.depth,):
            raise ValueError(
                f"initial weights of shape {self._init.shape} are not allowed: ({config.depth},)"
            )
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
                "host_write": In(1),
                "host_mask": In(config.lanes),
                "host_weights": In(weights),
            }
        )

    def elaborate(self, platform):
        m = Module()
        ram = self._ram or ("dp16kd" if is_ecp5(platform) else "inferred")
        for lane in range(self.config.lanes):
            init = [] if self._init is None else self._init[lane :: self.config.lanes].tolist()
            if ram == "dp16kd" and dp16kd.fits(self.config.rows):
                self._place(m, lane, init)
            else:
                self._describe(m, lane, init)
        return m

    def _describe(self, m, lane, init):
        """Describe a bank, so that synthesis finds a RAM with one port to read and one to write."""
        # A port of Amaranth's that is clocked reads the old word. Where RAMs do not promise that,
        # Yosys would build it around them; the attribute tells it not to.
        bank = Memory(
            shape=shape_of(self.config.weight),
            depth=self.config.rows,
            init=init,
            attrs={"no_rw_check": 1},
        )
        m.submodules[f"bank{lane}"] = bank
        read, write = bank.read_port(domain="comb"), bank.write_port()
        word = Signal(shape_of(self.config.weight), name=f"word{lane}", reset_less=True)
        with m.If(self.read_enable):
            m.d.sync += word.eq(read.data)
        host = self.host_write
        m.d.comb += [
            read.addr.eq(self.read_row),
            self.read_weights[lane].eq(later(m, word, self.latency - 1, f"word{lane}")),
            write.en.eq(Mux(host, self.host_mask[lane], self.write_mask[lane])),
            write.addr.eq(Mux(host, self.read_row, self.write_row)),
            write.data.eq(Mux(host, self.host_weights[lane], self.write_weights[lane])),
        ]

    def _place(self, m, lane, init):
        """Place a bank. The port that reads writes for the host, without a multiplexer."""
        bank = dp16kd.Bank(
            width=self.config.weight.width,
            depth=self.config.rows,
            init=init,
            output_register=self.latency == 2,
        )
        m.submodules[f"bank{lane}"] = bank
        m.d.comb += [
            bank.a_enable.eq(self.write_mask[lane]),
            bank.a_address.eq(self.write_row),
            bank.a_data.eq(self.write_weights[lane]),
            bank.b_enable.eq(self.read_enable),
            bank.b_write.eq(self.host_write & self.host_mask[lane]),
            bank.b_address.eq(self.read_row),
            bank.b_data.eq(self.host_weights[lane]),
            self.read_weights[lane].eq(bank.b_word),
        ]
