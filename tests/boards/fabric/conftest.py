"""Stand-ins for the tools that take seconds."""

import json

import pytest

from upshift_boards.fabric import campaign, harness, place

CELLS = {"SB_LUT4": 100, "SB_CARRY": 20, "SB_DFFESR": 60, "SB_RAM40_4K": 4}
AROUND = {"SB_LUT4": 7, "SB_DFF": 30}


class Tools:
    """Writes what Yosys and nextpnr would, and knows how often each was asked to."""

    def __init__(self):
        self.calls = []
        self.fail = None

    def run(self, command, directory):
        self.calls.append(command)
        if self.fail is not None:
            self.fail(command)
        if command[0] == "yosys":
            whole = {kind: CELLS.get(kind, 0) + AROUND.get(kind, 0) for kind in CELLS | AROUND}
            unit = {"modules": {"\\harness.unit": {"num_cells_by_type": CELLS}}}
            (directory / "unit.json").write_text(json.dumps(unit))
            (directory / "whole.json").write_text(
                json.dumps({"design": {"num_cells_by_type": whole}})
            )
            (directory / "net.json").write_text("{}")
            return
        seed = int(command[command.index("--seed") + 1])
        steps = [
            {"type": "clk-to-q", "delay": 0.5, "from": {"cell": "a"}, "to": {"cell": "a"}},
            {"type": "routing", "delay": 2.0, "from": {"cell": "a"}, "to": {"cell": "b"}},
            {"type": "logic", "delay": 1.25, "from": {"cell": "b"}, "to": {"cell": "b"}},
        ]
        report = {
            "fmax": {"clk": {"achieved": 100.0 + seed, "constraint": 150}},
            "utilization": {"ICESTORM_LC": {"used": 150, "available": 7680}},
            "critical_paths": [
                {"from": "<async>", "to": "posedge clk", "path": steps * 9},
                {"from": "posedge clk", "to": "posedge clk", "path": steps},
            ],
        }
        (directory / "report.json").write_text(json.dumps(report))


@pytest.fixture
def fake(monkeypatch):
    """Replace the tools, and what they would work on."""
    stand_in = Tools()
    monkeypatch.setattr(harness, "to_rtlil", lambda config, part: config.to_json())
    monkeypatch.setattr(place.tools, "run", stand_in.run)
    return stand_in


@pytest.fixture
def own_cache(monkeypatch, tmp_path):
    """Keep points in a directory of the test's own."""
    directory = tmp_path / "fabric"
    monkeypatch.setattr(campaign, "cache", lambda: directory)
    return directory
