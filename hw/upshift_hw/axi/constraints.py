"""What a place-and-route tool must know about the clock crossings of a unit in its AXI shell.

The file is for Vivado; its names are those of the generated Verilog, relative to the top module.
No vendor tool was run on it: a test checks that every cell that it names exists.
"""

from collections.abc import Iterator

from upshift_hw.axi.unit import AxiUnit

BUS, UNIT = "aclk", "unit_clk"
_MAILBOXES = (("requests", BUS, UNIT), ("answers", UNIT, BUS))
_SINGLE_BITS = (
    ("resets/stop_sync", BUS, UNIT),
    ("resets/stopped_sync", UNIT, BUS),
    ("resets/link_sync", BUS, UNIT),
    ("resets/flushed_sync", UNIT, BUS),
    ("irq_sync", UNIT, BUS),
)

_HEADING = """\
# Timing constraints of {top}: the crossings between aclk and unit_clk.
#
# Written for Vivado by Upshift; NO VENDOR TOOL WAS RUN ON THIS FILE. Read it for the module, after
# the constraints that create the clocks:
#
#     read_xdc -ref {top} {top}.xdc
#     set_property PROCESSING_ORDER LATE [get_files {top}.xdc]
#
# Do not declare the clocks asynchronous on top of it (set_clock_groups, set_false_path between
# them): that would switch these limits off.
"""


def _clock(port: str) -> str:
    return f"[get_clocks -of_objects [get_ports {port}]]"


def _period(port: str) -> str:
    return f"[get_property -min PERIOD {_clock(port)}]"


def _synchronizer(path: str, source: str) -> Iterator[str]:
    """Limit the way to the first flip-flop, and keep all of them together."""
    yield f"set_property ASYNC_REG TRUE [get_cells {{{path}/*_reg*}}]"
    yield (
        f"set_max_delay -datapath_only -from {_clock(source)} "
        f"-to [get_cells {{{path}/stage0_reg*}}] {_period(source)}"
    )


def _gray(path: str, count: str, source: str) -> Iterator[str]:
    """Let the bits of a count in Gray code arrive within one period of their clock."""
    yield from _synchronizer(f"{path}/{count}_sync", source)
    yield (
        f"set_bus_skew -from [get_cells {{{path}/{count}_gray_reg*}}] "
        f"-to [get_cells {{{path}/{count}_sync/stage0_reg*}}] {_period(source)}"
    )


def _held(cells: str, destination: str) -> str:
    """Limit the way of data that have been held for two clocks before they are looked at."""
    return (
        f"set_max_delay -datapath_only -from [get_cells {{{cells}}}] "
        f"-to {_clock(destination)} {_period(destination)}"
    )


def crossings(unit: AxiUnit) -> list[tuple[str, str, str]]:
    """Return the stream crossings: instance, and the clocks of its two sides."""
    streams = [name for name in unit.signature.members if "_axis_" in name]
    return [
        (f"{name}_crossing", *((BUS, UNIT) if name.startswith("s_") else (UNIT, BUS)))
        for name in streams
    ]


def to_xdc(unit: AxiUnit, top: str) -> str:
    """Return the constraints as XDC.

    Parameters
    ----------
    unit : AxiUnit
    top : str
        Name of its Verilog module.
    """
    lines = [_HEADING.format(top=top)]
    if unit.one_clock:
        return lines[0] + "\n# This unit has one clock: there is nothing to constrain.\n"
    for name, source, destination in crossings(unit):
        lines += [f"# {name}: {source} to {destination}"]
        lines += _gray(name, "written", source)
        lines += _gray(name, "taken", destination)
        lines += [_held(f"{name}/storage_reg*", destination), ""]
    for name, source, destination in _MAILBOXES:
        lines += [f"# {name}: {source} to {destination}"]
        lines += _synchronizer(f"{name}/sent_sync", source)
        lines += _synchronizer(f"{name}/taken_sync", destination)
        lines += [_held(f"{name}/o__payload_reg*", destination), ""]
    lines += ["# single bits: the order of resets, and the interrupt"]
    for path, source, _destination in _SINGLE_BITS:
        lines += _synchronizer(path, source)
    return "\n".join(lines) + "\n"
