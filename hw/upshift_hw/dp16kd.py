"""A bank of memory from the block RAMs of a Lattice ECP5, with their output registers.

A DP16KD has two ports, each of which reads or writes 18 bits of 1024 words, 9 of 2048 or 4 of
4096. Port A writes; port B reads, and writes as well. What is described here was taken from the
makers' guide FPGA-TN-02204 and from how Yosys uses the block, and a test compares it with a model
of the same facts; no simulation of the block itself takes part.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

_WORDS = 1024
_WORD = 18
_PORTS = {18: 1, 9: 2, 4: 4}
"""Widths of a port, and how many of its words share a word of the block."""


def fits(depth: int) -> bool:
    """Return whether a bank can have this many words."""
    return depth <= _WORDS * max(_PORTS.values())


class Bank(wiring.Component):
    """Hold words, one read and one write per clock.

    A word that is read on port B in the clock in which port A writes it may come out as anything.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words, `fits`.
    init : list of int
        The first words at power-up; the others are zero.
    output_register : bool
        Words come two clocks after their address instead of one.

    Members
    -------
    a_enable, a_address, a_data : In
        Write a word.
    b_enable, b_write, b_address, b_data : In
        Read a word, or write it and leave `b_word` as it is.
    b_advance : In
        Take the word that was read into the output register, if there is one; at first high.
    b_word : Out
        What was read last.
    """

    def __init__(self, *, width: int, depth: int, init: list[int], output_register: bool):
        self.width = width
        self.depth = depth
        self.init = init
        self.output_register = output_register
        address = max(1, ceil_log2(depth))
        super().__init__(
            {
                "a_enable": In(1),
                "a_address": In(address),
                "a_data": In(width),
                "b_enable": In(1),
                "b_write": In(1),
                "b_address": In(address),
                "b_data": In(width),
                "b_advance": In(1, init=1),
                "b_word": Out(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        port = next(w for w, parts in _PORTS.items() if self.depth <= _WORDS * parts)
        for n, low in enumerate(range(0, self.width, port)):
            m.submodules[f"block{n}"] = self._block(m, port, slice(low, low + port))
        return m

    def _block(self, m, port, bits):
        """Return the block that holds some bits of the words, on ports of `port` bits."""
        word = Signal(port)
        m.d.comb += self.b_word[bits].eq(word)
        options = {
            "i_CLKA": ClockSignal(),
            "i_CLKB": ClockSignal(),
            "i_CEA": Const(1),
            "i_CEB": self.b_enable,
            "i_OCEA": Const(0),
            "i_OCEB": self.b_advance,
            "i_WEA": self.a_enable,
            "i_WEB": self.b_write,
            "i_RSTA": Const(0),
            "i_RSTB": Const(0),
            "p_DATA_WIDTH_A": port,
            "p_DATA_WIDTH_B": port,
            "p_REGMODE_A": "NOREG",
            "p_REGMODE_B": "OUTREG" if self.output_register else "NOREG",
            "p_RESETMODE": "SYNC",
            "p_ASYNC_RESET_RELEASE": "SYNC",
            "p_CSDECODE_A": "0b000",
            "p_CSDECODE_B": "0b000",
            "p_CLKAMUX": "CLKA",
            "p_CLKBMUX": "CLKB",
            "p_WRITEMODE_A": "NORMAL",
            "p_WRITEMODE_B": "NORMAL",
            "p_GSR": "DISABLED",
        }
        for side, address, data in (
            ("A", self.a_address, self.a_data[bits]),
            ("B", self.b_address, self.b_data[bits]),
        ):
            # Ports of 18 bits have enables for their two bytes on the lowest pins.
            low = Const(0b0011 if port == _WORD else 0, 5 - _PORTS[port].bit_length())
            pins = Cat(low, address, Const(0, 14))[:14]
            options |= {f"i_CS{side}{n}": Const(0) for n in range(3)}
            options |= {f"i_AD{side}{n}": pin for n, pin in enumerate(pins)}
            options |= {f"i_DI{side}{n}": pin for n, pin in enumerate(Cat(data, Const(0, 18))[:18])}
        options |= {f"o_DOB{n}": bit for n, bit in enumerate(word)}
        contents = _contents([_bits_of(value, bits) for value in self.init], port)
        options |= {f"p_INITVAL_{n:02X}": value for n, value in enumerate(contents)}
        return Instance("DP16KD", **options)


def _bits_of(value, bits):
    return value >> bits.start & ((1 << (bits.stop - bits.start)) - 1)


def _contents(values, port):
    """Return the 64 parameters of the contents: each has 16 words of 18 bits, 20 bits apart."""
    parts = _PORTS[port]
    words = [0] * _WORDS
    for n, value in enumerate(values):
        # Every ninth bit is left out by ports of 4 bits.
        first = 9 * (n % parts * 2 // parts) + port * (n % parts % 2) * (port < 9)
        words[n // parts] |= value << first
    slices = (words[at : at + 16] for at in range(0, _WORDS, 16))
    packed = (sum(word << 20 * n for n, word in enumerate(some)) for some in slices)
    return [Const(value, 320) for value in packed]
