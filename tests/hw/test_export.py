"""`upshift_hw.export`: the Verilog is one that a person can read, and a fault is a fault."""

import re
from functools import cache

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw import export, yosys

SMALL = UnitConfig(lanes=4, weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=64, max_rate=7)


@cache
def verilog(fault: int | None = None) -> str:
    return export.to_verilog(SMALL, fault=fault)


def test_modules_are_shared_and_the_top_comes_first():
    assert re.findall(r"^module (\S+)", verilog(), re.M) == [
        "upshift",
        "upshift_datapath",
        "upshift_datapath_align",
        "upshift_datapath_lane",
        "upshift_datapath_lane_subtraction",
        "upshift_datapath_needed_resolution",
        "upshift_datapath_reports",
        "upshift_datapath_reports_early",
        "upshift_datapath_reports_nonzero_tally",
        "upshift_datapath_reports_reader",
        "upshift_datapath_reports_rest",
        "upshift_datapath_reports_saturated_tally",
        "upshift_memory",
        "upshift_registers",
        "upshift_registers_bank",
        "upshift_registers_counters",
        "upshift_sequencer",
        "upshift_sequencer_command_check",
        "upshift_sequencer_hazards",
    ]
    assert len(re.findall(r"^  upshift_datapath_lane lane\d \(", verilog(), re.M)) == SMALL.lanes


def test_names_are_plain_verilog():
    assert "\\" not in verilog()
    assert "$auto" not in verilog()


def test_clock_and_reset_come_first_and_streams_stay_together():
    header = re.search(r"^module upshift \((.*?)^\);", verilog(), re.M | re.S)
    ports = re.findall(r"(\w+)(?: = [^,\n]*)?,?\n", header[1])
    streams = ["i_command", "i_gradients", "o_report", "i_access", "o_weights"]
    expected = [f"{name}__{part}" for name in streams for part in ("payload", "valid", "ready")]
    assert ports[:2] == ["clk", "rst"]
    assert ports[2 : 2 + len(expected)] == expected


def test_resets_are_written_as_resets():
    lane = re.search(r"^module upshift_datapath_lane .*?^endmodule", verilog(), re.M | re.S)[0]
    assert "if (rst) nonzero <= 1'h0;" in lane


def test_verilog_does_what_the_rtlil_does(tmp_path):
    """For every input of the first eight clocks; the benches look further."""
    config = UnitConfig(lanes=2, weight=Fixed(6, 4), gradient=Fixed(6, 3), depth=8, max_rate=5)
    (tmp_path / "gold.il").write_text(export.to_rtlil(config))
    (tmp_path / "gate.v").write_text(export.to_verilog(config))
    yosys.run(
        "read_rtlil gold.il; delete t:$meminit*; proc; flatten; memory; opt_clean; "
        "rename -top gold; design -stash gold; "
        "read_verilog gate.v; hierarchy -top upshift; proc; flatten; memory; opt_clean; "
        "rename -top gate; design -stash gate; "
        "design -copy-from gold -as gold gold; design -copy-from gate -as gate gate; "
        "miter -equiv -flatten -make_outputs gold gate miter; hierarchy -top miter; opt -full; "
        "sat -verify -prove trigger 0 -prove-skip 1 -seq 8 -set-at 1 in_rst 1 -set-init-zero miter",
        tmp_path,
    )


def test_a_fault_changes_the_unit():
    assert verilog(1) != verilog()
    assert verilog(1) == export.to_verilog(SMALL, fault=1)
    assert verilog(2) != verilog(1)
