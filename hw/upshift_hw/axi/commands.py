"""The shell's commands: from the registers into a queue, and from there to who executes them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.registers import SHELL_BY_NAME, ShellOperation
from upshift_hw.command import CommandChecker, plan_layout
from upshift_hw.shapes import layout_of

OPERANDS = ("operation", "base", "count", "rate", "resolution")
"""Command registers; the unit's command has fields of the same names."""


def registers_layout() -> data.StructLayout:
    """Return the command registers side by side."""
    return data.StructLayout({name: SHELL_BY_NAME[name].fields[0].width for name in OPERANDS})


class CommandQueue(wiring.Component):
    """Take commands that the unit can understand, and hold them until their turn.

    Parameters
    ----------
    config : UnitConfig
    depth : int
        Commands that may wait.

    Members
    -------
    start : In
        Queue the command in `operands`.
    operands : In
        The command registers.
    room : Out
        Commands for which there is room.
    overrun, operand : Out
        The command was not queued: there was no room, or some operand does not fit.
    o : Out(stream)
        Commands as for the unit, with a wider operation.
    """

    def __init__(self, config: UnitConfig, *, depth: int = 8):
        self.config = config
        self.depth = depth
        super().__init__(
            {
                "start": In(1),
                "operands": In(registers_layout()),
                "room": Out(range(depth + 1)),
                "overrun": Out(1),
                "operand": Out(1),
                "o": Out(stream.Signature(shell_command_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shape = self.o.payload.shape()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=shape.size, depth=self.depth)
        command = Signal(shape)
        misfit = Signal(len(OPERANDS))
        for n, name in enumerate(OPERANDS):
            given, field = self.operands[name], command[name]
            m.d.comb += [field.eq(given), misfit[n].eq(given != field)]
        if self.config.memory == "streamed":
            with m.If(self.operands.operation >= ShellOperation.WRITE):
                m.d.comb += misfit[0].eq(1)
        m.d.comb += [
            queue.w_data.eq(command),
            queue.w_en.eq(self.start & ~misfit.any()),
            self.operand.eq(self.start & misfit.any()),
            self.overrun.eq(self.start & ~misfit.any() & ~queue.w_rdy),
            self.room.eq(self.depth - queue.level),
            self.o.payload.eq(queue.r_data),
            self.o.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.o.ready),
        ]
        return m


def shell_command_layout(config: UnitConfig) -> data.StructLayout:
    """Return the unit's command with an operation of the shell."""
    fields = dict(layout_of(layout.command(config)).members)
    width = SHELL_BY_NAME["operation"].fields[0].width
    return data.StructLayout(fields | {"operation": width})


class Dispatcher(wiring.Component):
    """Hand commands to the unit, and plan the packets and host accesses that go with them.

    Updates and raises go to the unit as soon as it takes them, so that it checks the next one
    while one is in progress. Host accesses do not pass through the unit's command port, and it
    would serve them between any two bursts: so they start when everything before them has ended,
    and nothing after them starts before they have.

    Parameters
    ----------
    config : UnitConfig

    Members
    -------
    i : In(stream)
        Commands of the shell.
    unit : Out(stream)
        Commands for the unit.
    idle : In
        Every command that was handed on has ended.
    accessing : Out
        A host access is in progress.
    ended : In
        It ends.
    valid, plan, operation : Out
        The next plan, in the order of the commands.
    take : In
        The plan is taken; only while `valid`.
    """

    def __init__(self, config: UnitConfig):
        self.config = config
        command = shell_command_layout(config)
        super().__init__(
            {
                "i": In(stream.Signature(command)),
                "unit": Out(stream.Signature(layout_of(layout.command(config)))),
                "idle": In(1),
                "accessing": Out(1),
                "ended": In(1),
                "valid": Out(1),
                "plan": Out(plan_layout(config)),
                "operation": Out(command["operation"].shape),
                "take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.command_check = checker = CommandChecker(self.config)
        width = len(self.operation)
        m.submodules.operations = operations = fifo.SyncFIFO(width=width, depth=4)
        head = self.i.payload
        access = Signal()
        free = Signal()
        moves = Signal()
        m.d.comb += [
            access.eq(head.operation >= ShellOperation.WRITE),
            free.eq(checker.i.ready & operations.w_rdy & ~self.accessing),
            self.unit.valid.eq(self.i.valid & ~access & free),
            self.i.ready.eq(free & Mux(access, self.idle, self.unit.ready)),
            moves.eq(self.i.valid & self.i.ready),
            checker.i.valid.eq(moves),
            operations.w_en.eq(moves),
            operations.w_data.eq(head.operation),
        ]
        for name in OPERANDS:
            m.d.comb += [
                self.unit.payload[name].eq(head[name]),
                checker.i.payload[name].eq(head[name]),
            ]
        with m.If(access):
            # An access has neither rate nor resolution: what is refused is its range.
            m.d.comb += [
                checker.i.payload.operation.eq(Operation.UPDATE),
                checker.i.payload.rate.eq(0),
                checker.i.payload.resolution.eq(checker.floor),
            ]
        with m.If(self.ended):
            m.d.sync += self.accessing.eq(0)
        with m.If(moves & access):
            m.d.sync += self.accessing.eq(1)
        m.d.comb += [
            self.valid.eq(checker.valid & operations.r_rdy),
            self.plan.eq(checker.plan),
            self.operation.eq(operations.r_data),
            checker.take.eq(self.take),
            operations.r_en.eq(self.take),
        ]
        return m
