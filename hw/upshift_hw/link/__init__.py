"""The link in gateware: from a serial line, or any other line of bytes, to the unit and back."""

from upshift_hw.link.linked import ByteLink, LinkedUnit

__all__ = ["ByteLink", "LinkedUnit"]
