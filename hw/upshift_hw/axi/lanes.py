"""Lanes in whole bytes, as AXI4-Stream carries them, and as the unit takes them."""

from amaranth.hdl import Cat, Value

from upshift.formats import Fixed, Format
from upshift.words import word_bytes


def stream_bytes(fmt: Format, lanes: int) -> int:
    """Return the bytes of one beat."""
    return word_bytes(fmt.width) * lanes


def to_bytes(words, fmt: Format, lanes: int) -> Value:
    """Return a beat: each word sign-extended to whole bytes, lane 0 first."""
    size = 8 * word_bytes(fmt.width)
    return Cat(_extended(words[j], fmt, size) for j in range(lanes))


def _extended(word, fmt: Format, size: int) -> Value:
    bits = Value.cast(word).as_unsigned()
    return Cat(bits, bits[-1].replicate(size - fmt.width)) if fmt.width < size else bits


def from_bytes(beat: Value, fmt: Format, lanes: int) -> Value:
    """Return the words of a beat, packed, lane 0 first; the padding is left out."""
    size = 8 * word_bytes(fmt.width)
    return Cat(beat[j * size : j * size + fmt.width] for j in range(lanes))


def misfits(beat: Value, fmt: Format, lanes: int) -> Value:
    """Return one bit per lane: its padding is not the sign, so the value does not fit."""
    size = 8 * word_bytes(fmt.width)
    if not isinstance(fmt, Fixed) or fmt.width == size:
        return Cat(0 for _ in range(lanes))
    upper = [beat[j * size + fmt.width - 1 : (j + 1) * size] for j in range(lanes)]
    return Cat(bits.any() & ~bits.all() for bits in upper)
