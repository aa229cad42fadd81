"""The signals of the AXI interfaces, by their standard names, seen from the side that initiates.

Joined with an underscore, the name of an interface and those of its signals are the port names
of the Verilog.
"""

from amaranth.lib.wiring import In, Out, Signature


def stream(size: int, *, user: int = 0) -> Signature:
    """Return an AXI4-Stream of `size` bytes per beat, each of them always valid (no TKEEP)."""
    members = {"tdata": Out(8 * size)}
    if user:
        members["tuser"] = Out(user)
    return Signature(members | {"tlast": Out(1), "tvalid": Out(1), "tready": In(1)})


def lite(address: int) -> Signature:
    """Return an AXI4-Lite of 32-bit words, with byte addresses of `address` bits."""
    return Signature(
        {
            "awaddr": Out(address),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )
