"""AXI4-Lite on one side, requests and answers on the other.

One access at a time: registers are for control, and the data have their own streams.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from upshift.registers import AXI_BYTES, SHELL_BY_NAME
from upshift_hw.axi import signatures

OKAY, SLVERR = 0b00, 0b10

_WORDS = range(AXI_BYTES // 4)

REQUEST = data.StructLayout({"word": _WORDS, "write": 1, "data": 32, "mask": 32})
"""An access: which register, and for a write the data and which of its bits count."""

ANSWER = data.StructLayout({"data": 32, "error": 1})
"""What was read, and whether there is no such register."""

_RESET = SHELL_BY_NAME["reset"]


class LiteFront(wiring.Component):
    """Turn AXI4-Lite accesses into requests, and their answers into responses.

    An address and its data may come in either order, or together. Reads and writes that wait for
    each other take turns. The register `reset` is served here, because nothing else works during
    a reset; other accesses wait until it is over.

    Members
    -------
    bus : In(AXI4-Lite)
    request : Out(stream)
    answer : In(stream)
        One for each request.
    resetting : In
        A reset is in progress, or its aftermath.
    reset_start : Out
        Start a reset.
    reset_drain : Out
        With it: throw away the rest of packets that have begun.
    """

    def __init__(self):
        address = (AXI_BYTES - 1).bit_length()
        super().__init__(
            {
                "bus": In(signatures.lite(address)),
                "request": Out(stream.Signature(REQUEST)),
                "answer": In(stream.Signature(ANSWER)),
                "resetting": In(1),
                "reset_start": Out(1),
                "reset_drain": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus
        write_word = Signal(_WORDS)
        write_data = Signal(32)
        write_mask = Signal(32)
        read_word = Signal(_WORDS)
        address_held = Signal()
        data_held = Signal()
        read_held = Signal()
        m.d.comb += [
            bus.awready.eq(~address_held),
            bus.wready.eq(~data_held),
            bus.arready.eq(~read_held),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_held.eq(1), write_word.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            strobes = Cat(strobe.replicate(8) for strobe in bus.wstrb)
            m.d.sync += [data_held.eq(1), write_data.eq(bus.wdata), write_mask.eq(strobes)]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [read_held.eq(1), read_word.eq(bus.araddr[2:])]

        writing = Signal()
        answered = Signal()
        error = Signal()
        answer_data = Signal(32)
        m.d.comb += [
            self.request.payload.word.eq(Mux(writing, write_word, read_word)),
            self.request.payload.write.eq(writing),
            self.request.payload.data.eq(write_data),
            self.request.payload.mask.eq(write_mask),
        ]
        with m.If(answered & writing):
            m.d.sync += [address_held.eq(0), data_held.eq(0)]
        with m.Elif(answered):
            m.d.sync += read_held.eq(0)
        self._respond(m, answered, writing, error, answer_data)

        with m.FSM():
            with m.State("choose"):
                write = address_held & data_held & ~bus.bvalid
                read = read_held & ~bus.rvalid
                with m.If(write & ~(read & writing)):  # the other one of the last
                    m.d.sync += writing.eq(1)
                    m.next = "ask"
                with m.Elif(read):
                    m.d.sync += writing.eq(0)
                    m.next = "ask"
            with m.State("ask"):
                with m.If(self.request.payload.word == _RESET.address):
                    self._reset(m, answer_data)
                    m.d.comb += answered.eq(1)
                    m.next = "choose"
                with m.Else():
                    m.d.comb += self.request.valid.eq(1)
                    with m.If(self.request.ready):
                        m.next = "answer"
            with m.State("answer"):
                m.d.comb += [
                    self.answer.ready.eq(1),
                    answered.eq(self.answer.valid),
                    answer_data.eq(self.answer.payload.data),
                    error.eq(self.answer.payload.error),
                ]
                with m.If(self.answer.valid):
                    m.next = "choose"
        return m

    def _respond(self, m, answered, writing, error, answer_data):
        """Offer a response until it is taken."""
        bus = self.bus
        response = Mux(error, SLVERR, OKAY)
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(answered & writing):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(response)]
        with m.Elif(answered):
            m.d.sync += [bus.rvalid.eq(1), bus.rresp.eq(response), bus.rdata.eq(answer_data)]

    def _reset(self, m, answer_data):
        """Serve the one register that lies here."""
        start, busy, drain = (field.offset for field in _RESET.fields)
        request = self.request.payload
        written = request.data & request.mask & request.write.replicate(32)
        m.d.comb += [
            answer_data[busy].eq(self.resetting),
            self.reset_start.eq(written[start]),
            self.reset_drain.eq(written[drain]),
        ]
