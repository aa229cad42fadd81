"""A Tcl script that makes an IP of a unit in its AXI shell, for Vivado's catalogue.

It names every interface instead of leaving that to Vivado's guesses. No vendor tool was run on
it: a test checks that it maps every port of the generated Verilog, once.
"""

from collections.abc import Iterator

from amaranth.lib.wiring import In

import upshift
from upshift.registers import AXI_BYTES
from upshift_hw.axi.constraints import UNIT
from upshift_hw.axi.unit import AxiUnit

_HEADING = """\
# Packages {top} as an IP. Written for Vivado by Upshift; NO VENDOR TOOL WAS RUN ON THIS FILE.
#
#     vivado -mode batch -source package_ip.tcl
#
# makes the directory ip/ beside this file; add it to the project's IP repositories.

set here [file dirname [file normalize [info script]]]
create_project -in_memory
read_verilog [file join $here {top}.v]
set_property top {top} [current_fileset]
ipx::package_project -root_dir [file join $here ip] -vendor upshift.org -library upshift \\
    -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name {top} $core
set_property version {version} $core
set_property display_name "Upshift update unit" $core
set_property description "Configuration {digest}" $core

# Interfaces are named below, not guessed.
foreach guessed [ipx::get_bus_interfaces -of_objects $core] {{
    ipx::remove_bus_interface [get_property name $guessed] $core
}}
proc interface {{name bus rtl mode maps}} {{
    set core [ipx::current_core]
    set found [ipx::add_bus_interface $name $core]
    set_property bus_type_vlnv xilinx.com:$bus:1.0 $found
    set_property abstraction_type_vlnv xilinx.com:$rtl:1.0 $found
    set_property interface_mode $mode $found
    foreach {{logical physical}} $maps {{
        set_property physical_name $physical [ipx::add_port_map $logical $found]
    }}
    return $found
}}
proc parameter {{interface name value}} {{
    set_property value $value [ipx::add_bus_parameter $name $interface]
}}
"""


def _kind(name: str) -> str:
    return "axis" if "_axis_" in name else "aximm"


def _interfaces(unit: AxiUnit) -> Iterator[str]:
    for name, member in unit.signature.members.items():
        if member.is_port:
            continue
        mode = "slave" if member.flow == In else "master"
        kind = _kind(name)
        yield f"interface {name} interface:{kind} interface:{kind}_rtl {mode} {{"
        yield from (f"    {part.upper()} {name}_{part}" for part in member.signature.members)
        yield "}"


def _signal(name: str, kind: str, logical: str, mode: str = "slave") -> str:
    return f"interface {name} signal:{kind} signal:{kind}_rtl {mode} {{ {logical} {name} }}"


def _clocks(unit: AxiUnit) -> Iterator[str]:
    buses = [name for name, member in unit.signature.members.items() if not member.is_port]
    yield f"set aresetn [{_signal('aresetn', 'reset', 'RST')}]"
    yield "parameter $aresetn POLARITY ACTIVE_LOW"
    yield f"set aclk [{_signal('aclk', 'clock', 'CLK')}]"
    yield f"parameter $aclk ASSOCIATED_BUSIF {':'.join(buses)}"
    yield "parameter $aclk ASSOCIATED_RESET aresetn"
    if not unit.one_clock:
        yield _signal(UNIT, "clock", "CLK")
    yield f"set irq [{_signal('irq', 'interrupt', 'INTERRUPT', 'master')}]"
    yield "parameter $irq SENSITIVITY LEVEL_HIGH"


_MEMORY = f"""
# Registers
set map [ipx::add_memory_map s_axi $core]
set_property slave_memory_map_ref s_axi [ipx::get_bus_interfaces s_axi -of_objects $core]
set block [ipx::add_address_block registers $map]
set_property range {AXI_BYTES} $block
set_property width 32 $block
set_property usage register $block
"""

_CONSTRAINTS = """
# Constraints of the clock crossings, after those that create the clocks
file copy -force [file join $here {top}.xdc] [file join $here ip {top}.xdc]
set files [ipx::get_file_groups xilinx_anylanguagesynthesis -of_objects $core]
set constraints [ipx::add_file {top}.xdc $files]
set_property type xdc $constraints
set_property processing_order late $constraints
"""

_END = """
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
"""


def to_tcl(unit: AxiUnit, top: str) -> str:
    """Return the packaging script.

    Parameters
    ----------
    unit : AxiUnit
    top : str
        Name of its Verilog module; the file is called like it.
    """
    version = ".".join(upshift.__version__.split(".")[:2])  # two numbers, as Vivado wants it
    heading = _HEADING.format(top=top, version=version, digest=unit.config.digest[:16])
    lines = [heading, *_interfaces(unit), "", *_clocks(unit)]
    constraints = "" if unit.one_clock else _CONSTRAINTS.format(top=top)
    return "\n".join(lines) + "\n" + _MEMORY + constraints + _END
