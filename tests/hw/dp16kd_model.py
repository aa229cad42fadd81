"""A model of Lattice's DP16KD, written from its guide, for tests that replace the instance by it.

1024 words of 18 bits. A port of 18 bits has its two byte enables on the lowest address pins; a
port of 9 bits takes pin 3 for the byte, one of 4 bits pins 3 and 2 for the byte and its half,
and leaves out each ninth bit. With WRITEMODE NORMAL a write leaves the output as it is.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib.memory import Memory

_FIXED = {
    "p_RESETMODE": "SYNC",
    "p_CSDECODE_A": "0b000",
    "p_CSDECODE_B": "0b000",
    "p_WRITEMODE_A": "NORMAL",
    "p_WRITEMODE_B": "NORMAL",
    "p_REGMODE_A": "NOREG",
    "p_CLKAMUX": "CLKA",
    "p_CLKBMUX": "CLKB",
}


class Model(Elaboratable):
    """Takes the place of ``Instance("DP16KD", ...)``; only port B has an output."""

    def __init__(self, name, **options):
        assert name == "DP16KD"
        assert _FIXED.items() <= options.items()
        self.options = options

    def elaborate(self, platform):
        m = Module()
        words = []
        for n in range(64):
            value = self.options[f"p_INITVAL_{n:02X}"].value
            words += [value >> 20 * at & (1 << 18) - 1 for at in range(16)]
        m.submodules.words = memory = Memory(shape=18, depth=1024, init=words)
        a, b = (self._port(m, memory, side) for side in "AB")

        taken = Signal(18, reset_less=True)
        meets = a["writes"] & (a["word"] == b["word"]) & (a["mask"] & b["mask"]).any()
        with m.If(b["enable"] & ~b["writes"]):
            old = b["old"] >> b["shift"]
            m.d.sync += taken.eq(Mux(meets, ~old, old))
        output = taken
        if self.options["p_REGMODE_B"] == "OUTREG":
            output = Signal(18, reset_less=True)
            with m.If(self.options["i_OCEB"]):
                m.d.sync += output.eq(taken)
        pins = [pin for name, pin in self.options.items() if name.startswith("o_DOB")]
        m.d.comb += Cat(pins).eq(output)
        return m

    def _port(self, m, memory, side):
        selects = Cat(self.options[f"i_CS{side}{n}"] for n in range(3))
        address = Cat(self.options[f"i_AD{side}{n}"] for n in range(14))
        data = Cat(self.options[f"i_DI{side}{n}"] for n in range(18))
        width = self.options[f"p_DATA_WIDTH_{side}"]
        shift = Signal(range(18), name=f"shift_{side}")
        mask = Signal(18, name=f"mask_{side}")
        if width == 18:
            enables = Cat(address[0].replicate(9), address[1].replicate(9))
            m.d.comb += mask.eq(enables)
        else:
            half = Mux(address[2], 4, 0) if width == 4 else 0
            m.d.comb += [
                shift.eq(Mux(address[3], 9, 0) + half),
                mask.eq(Const((1 << width) - 1) << shift),
            ]
        enable, writes = Signal(name=f"enable_{side}"), Signal(name=f"writes_{side}")
        read, write = memory.read_port(domain="comb"), memory.write_port()
        m.d.comb += [
            enable.eq(self.options[f"i_CE{side}"] & (selects == 0)),
            writes.eq(enable & self.options[f"i_WE{side}"]),
            read.addr.eq(address[4:]),
            write.addr.eq(address[4:]),
            write.en.eq(writes),
            write.data.eq((read.data & ~mask) | ((data << shift) & mask)),
        ]
        return {
            "enable": enable,
            "writes": writes,
            "word": address[4:],
            "mask": mask,
            "shift": shift,
            "old": read.data,
        }
