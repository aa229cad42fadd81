"""Bytes that answers are made of: what the board is, and what its last commands did."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from upshift import layout
from upshift.config import UnitConfig
from upshift.link.config import LinkConfig
from upshift.link.frames import ANSWERS, WINDOW, Answer, byte_width, identity, pack
from upshift_hw.link.buffer import ByteBuffer
from upshift_hw.shapes import layout_of

_REPORT = ANSWERS[Answer.REPORT]
_REPORT_BYTES = byte_width(_REPORT)
_SLOT = 1 << ceil_log2(_REPORT_BYTES)
_FIELDS = {field.name: field.width for field in _REPORT}


class ReportStore(wiring.Component):
    """Hold a report for each of `WINDOW` commands, and the identity, as bytes in one memory.

    Storing takes a clock per byte, reading one clock.

    Parameters
    ----------
    config : UnitConfig
    link : LinkConfig

    Members
    -------
    slot : In
        Which report.
    store : In
        Store a report there; high until `stored`.
    stored : Out
        Its last byte is stored in this clock.
    from_unit : In
        It is `report`, and not one that has but `elements` and `refusal`.
    report : In
        The unit's report.
    elements, refusal : In
    identity : In
        Read the identity, and not a report.
    place : In
        Byte to read.
    shown : Out
        That byte, one clock later.
    """

    def __init__(self, config: UnitConfig, link: LinkConfig):
        self.config = config
        identity_fields = ANSWERS[Answer.IDENTITY]
        self._identity = pack(identity_fields, identity(config, link))
        super().__init__(
            {
                "slot": In(range(WINDOW)),
                "store": In(1),
                "stored": Out(1),
                "from_unit": In(1),
                "report": In(layout_of(layout.report(config))),
                "elements": In(_FIELDS["elements"]),
                "refusal": In(_FIELDS["refusal"]),
                "identity": In(1),
                "place": In(8),
                "shown": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # The identity comes first, because it is there from the beginning.
        page = 1 << ceil_log2(max(WINDOW * _SLOT, len(self._identity)))
        m.submodules.slots = memory = ByteBuffer(2 * page, init=self._identity)
        slots = len(memory.read_place) - 1
        place = Signal(range(_SLOT))
        m.d.comb += [
            memory.write_place.eq(self._address(place, slots)),
            memory.write_byte.eq(self._byte(m, place)),
            memory.write_enable.eq(self.store),
            self.stored.eq(self.store & (place == _REPORT_BYTES - 1)),
            memory.read_place.eq(Mux(self.identity, self.place, self._address(self.place, slots))),
            self.shown.eq(memory.read_byte),
        ]
        with m.If(self.store):
            m.d.sync += place.eq(Mux(self.stored, 0, place + 1))
        return m

    def _address(self, place, slots):
        low = Cat(place[: ceil_log2(_SLOT)], self.slot)
        return Cat(low, Const(0, slots - len(low)), Const(1, 1))

    def _byte(self, m, place):
        """Return the byte at `place` of the report that is stored."""
        full, short = Signal(layout_of(_REPORT)), Signal(layout_of(_REPORT))
        for field in _REPORT:
            value = self.report[field.name]
            if field.name == "needed":
                value = Mux(self.report.needed_valid, value, 0)
            m.d.comb += full[field.name].eq(value)
        m.d.comb += [short.elements.eq(self.elements), short.refusal.eq(self.refusal)]
        return Mux(
            self.from_unit,
            full.as_value().word_select(place, 8),
            short.as_value().word_select(place, 8),
        )
