"""The cocotb test of the update unit: runs in the simulator's process, one case per run.

The case arrives as a file named by a plusarg, and the outcome leaves as another file, whatever
happens: what was counted, what was covered, and what went wrong.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from upshift_sim.bench.case import PLUSARG, UnitCase
from upshift_sim.bench.scenarios import play
from upshift_sim.bench.streamed import bench_of


@cocotb.test()
async def update_unit(dut: Any) -> None:
    """Play all scenarios of the case."""
    case = UnitCase.load(Path(str(cocotb.plusargs[PLUSARG])))
    start = time.perf_counter()
    outcome: dict[str, Any] = {"error": "the bench did not finish"}
    Clock(dut.clk, 10, unit="ns", impl="gpi").start(start_high=False)
    bench = bench_of(dut, case, lambda: RisingEdge(dut.clk))
    try:
        await play(bench)
        outcome["error"] = None
    except BaseException as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        outcome["error"] = f"{notes}: {error!r}" if notes else repr(error)
        raise
    finally:
        outcome |= {
            "clocks": bench.clock,
            "bursts": bench.scoreboard.bursts,
            "elements": bench.scoreboard.elements,
            "reports": bench.scoreboard.reports,
            "weights": bench.scoreboard.weights,
            "rows": bench.scoreboard.rows,
            "coverage": bench.coverage.to_dict(),
            "seconds": time.perf_counter() - start,
        }
        directory = Path(case.result).parent
        (directory / "coverage.json").write_text(bench.coverage.to_json())
        Path(case.result).write_text(json.dumps(outcome, indent=2) + "\n")
