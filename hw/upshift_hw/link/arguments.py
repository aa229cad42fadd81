"""What the fields of a request ask for, and whether it can be had."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from upshift import layout
from upshift.config import UnitConfig
from upshift.layout import Operation
from upshift.link.config import LinkConfig
from upshift.link.frames import ARGUMENTS, TOO_LARGE, Request, max_payload
from upshift.report import Refusal
from upshift.words import word_bytes
from upshift_hw.shapes import layout_of

_WIDTHS = {field.name: field.width for fields in ARGUMENTS.values() for field in fields}


class RequestArguments(wiring.Component):
    """Pick out the fields of a request and check them.

    The results of checks, `in_memory`, `fits` and `too_large`, come one clock late.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig

    Members
    -------
    kind : In
        The request's.
    fields : In
        Its fields, as they came.
    base, count : Out
        Of READ, CHECKSUM and WRITE, cut to what a memory address may be.
    in_memory : Out
        They lie within the memory, uncut.
    fits : Out
        The answer to a READ or a TEST fits into a frame.
    size : Out
        Bytes of that answer.
    command : Out
        The unit's command for an UPDATE or RAISE.
    too_large : Out
        Causes for which that command cannot hold the fields.
    masked : Out
        Encoding of an UPDATE.
    recalled, new_session : Out
        The fields of RECALL and BEGIN.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig):
        self.config = config
        self.link = link
        command = layout_of(layout.command(config))
        super().__init__(
            {
                "kind": In(8),
                "fields": In(max(map(layout.width, ARGUMENTS.values()))),
                "base": Out(command["base"].shape),
                "count": Out(command["count"].shape),
                "in_memory": Out(1),
                "fits": Out(1),
                "size": Out(range(max_payload(link.frame_bytes) + 1)),
                "command": Out(command),
                "too_large": Out(len(Refusal)),
                "masked": Out(1),
                "recalled": Out(_WIDTHS["command"]),
                "new_session": Out(_WIDTHS["session"]),
            }
        )

    def elaborate(self, platform):
        m = Module()
        fields = {
            request: data.View(layout_of(table), self.fields[: layout.width(table)])
            for request, table in ARGUMENTS.items()
        }
        m.d.comb += [
            self.masked.eq(fields[Request.UPDATE].encoding),
            self.recalled.eq(fields[Request.RECALL].command),
            self.new_session.eq(fields[Request.BEGIN].session),
        ]
        self._range(m, fields)
        self._command(m, fields[Request.UPDATE], fields[Request.RAISE])
        return m

    def _range(self, m, fields):
        longest = max_payload(self.link.frame_bytes)
        word = word_bytes(self.config.weight.width)
        base = fields[Request.CHECKSUM].base  # READ and WRITE have theirs there as well
        count = Signal.like(fields[Request.CHECKSUM].count)
        with m.If(self.kind == Request.CHECKSUM):
            m.d.comb += count.eq(fields[Request.CHECKSUM].count)
        with m.Else():
            m.d.comb += count.eq(fields[Request.READ].count)
        m.d.comb += [self.base.eq(base), self.count.eq(count)]
        m.d.sync += self.in_memory.eq(
            ~base[len(self.base) :].any()
            & ~count[len(self.count) :].any()
            & (self.base + self.count <= self.config.depth)
        )
        asked = fields[Request.TEST].count
        with m.If(self.kind == Request.TEST):
            m.d.comb += self.size.eq(asked)
            m.d.sync += self.fits.eq(asked <= longest)
        with m.Else():
            # A product would take a multiplier where there are some.
            shifts = [self.count << n for n in range(word.bit_length()) if word >> n & 1]
            m.d.comb += self.size.eq(sum(shifts))
            m.d.sync += self.fits.eq(count <= longest // word)

    def _command(self, m, update, raise_):
        is_raise = Signal()
        resolution = Signal.like(update.resolution)
        m.d.comb += [
            is_raise.eq(self.kind == Request.RAISE),
            resolution.eq(Mux(is_raise, raise_.resolution, update.resolution)),
            self.command.operation.eq(Mux(is_raise, Operation.RAISE, Operation.UPDATE)),
        ]
        m.d.sync += self.too_large.eq(0)
        for field in layout.command(self.config):
            if field.name not in TOO_LARGE:
                continue
            value = resolution if field.name == "resolution" else update[field.name]
            matters = (field.name == "resolution") | ~is_raise
            m.d.comb += self.command[field.name].eq(value)
            with m.If(value[field.width :].any() & matters):
                m.d.sync += self.too_large[TOO_LARGE[field.name].bit_length() - 1].eq(1)
