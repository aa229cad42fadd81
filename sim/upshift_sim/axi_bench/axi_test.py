"""The cocotb test of the unit in its AXI shell: runs in the simulator's process, one case per run.

The case arrives as a file named by a plusarg, and the outcome leaves as another file.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.handle import SimHandleBase

from upshift_sim.axi_bench.bench import AxiBench
from upshift_sim.axi_bench.case import AxiCase
from upshift_sim.axi_bench.scenarios import SCENARIOS
from upshift_sim.bench.case import PLUSARG


@cocotb.test()
async def axi_unit(dut: SimHandleBase) -> None:
    """Play the scenarios of the case."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)  # cocotbext-axi tells of every access
    case = AxiCase.load(Path(str(cocotb.plusargs[PLUSARG])))
    start = time.perf_counter()
    outcome: dict[str, Any] = {"error": "the bench did not finish"}
    bench = AxiBench(dut, case)
    name = "start"
    try:
        await bench.start()
        for name in case.scenarios or SCENARIOS:
            await SCENARIOS[name](bench)
        await bench.finish()
        if {*(case.scenarios or SCENARIOS)} == {*SCENARIOS}:
            bench.coverage.check()
        outcome["error"] = None
    except BaseException as error:
        outcome["error"] = f"in {name}, clock {bench.clock}: {bench.broken or error!r}"
        raise
    finally:
        outcome |= {
            "clocks": bench.clock,
            "commands": bench.commands,
            "reports": bench.reports,
            "rows": bench.rows,
            "seconds": time.perf_counter() - start,
        }
        Path(case.result).write_text(json.dumps(outcome, indent=2) + "\n")
