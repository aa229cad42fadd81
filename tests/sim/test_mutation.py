"""Mutants of the netlist: the benches notice them, and those that change nothing are recognized."""

import json

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift_hw import export
from upshift_sim.mutation import campaign, equivalence, netlist, shell
from upshift_sim.mutation.netlist import Mutant
from upshift_sim.mutation.suite import Suite, SuiteError

CONFIG = UnitConfig(lanes=2, weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=16, max_rate=15)
SEED = 1


@pytest.fixture(scope="module")
def sound():
    return netlist.sound(CONFIG)


@pytest.fixture(scope="module")
def origin(sound):
    return equivalence.transitions(sound)


def changed(sound, module, port, mode, wire):
    """A mutant that Yosys finds at a named wire."""
    for mutant in netlist.mutants(sound, 3000, SEED):
        found = f"-port {port} " in mutant.arguments and f"-wire {wire} " in mutant.arguments
        if found and mutant.argument("mode") == mode and mutant.argument("module") == module:
            return mutant
    raise LookupError(f"no {mode} of {wire} at a {port} of {module}")


def test_the_benches_notice_nearly_all(cache):
    state = [*campaign.campaign(CONFIG, 40, seed=SEED)][-1]
    assert len(state.mutants) == len(state.verdicts) == 40
    assert state.score >= campaign.ENOUGH
    result = campaign.to_json(state)
    json.dumps(result)
    assert result["killed"] == 40 - len(result["equivalent"]) - len(result["survived"]) >= 30
    assert sum(row["mutants"] for row in result["modules"].values()) == 40
    assert sum(row["killed"] for row in result["modules"].values()) == result["killed"]


def test_a_campaign_goes_on_where_it_was(cache, monkeypatch):
    first = [*campaign.campaign(CONFIG, 40, seed=SEED)][-1]
    monkeypatch.setattr(Suite, "failures", None)
    monkeypatch.setattr(equivalence, "equivalent", None)
    again = [*campaign.campaign(CONFIG, 40, seed=SEED)][-1]
    assert again.verdicts == first.verdicts
    assert again.seconds == 0


def test_the_same_seed_chooses_the_same_mutants(sound):
    some = netlist.mutants(sound, 200, SEED)
    assert some == netlist.mutants(sound, 200, SEED)
    assert some != netlist.mutants(sound, 200, SEED + 1)
    assert len({mutant.arguments for mutant in some}) == 200
    assert len({mutant.argument("module") for mutant in some}) >= 10
    assert all(mutant.argument("port") != "CLK" for mutant in some)


@pytest.mark.parametrize("count", [0, 1 << 16])
def test_too_many_mutants_are_refused(sound, count):
    with pytest.raises(ValueError, match=f"{count} mutants are not allowed: 1 to 65535"):
        netlist.mutants(sound, count, SEED)


def test_a_suite_that_fails_on_the_sound_unit_says_nothing(sound, cache):
    other = UnitConfig(**vars(CONFIG) | {"max_rate": 14})
    with pytest.raises(SuiteError, match=r"the benches fail on the sound unit: .*register digest"):
        [*Suite(other, sound, SEED).failures(netlist.mutants(sound, 1, SEED))]


# -- equivalence ----------------------------------------------------------------------------------


def test_what_nobody_looks_at_is_equivalent(sound, origin):
    mutant = changed(sound, "upshift", "bus__write_data", "inv", "bus__write_data")
    unused = Mutant(
        mutant.arguments.replace(f"-portbit {mutant.argument('portbit')} ", "-portbit 31 ")
    )
    assert equivalence.equivalent(origin, equivalence.transitions(sound, unused), clocks=4)


def test_the_unit_is_equivalent_to_itself(origin):
    assert equivalence.equivalent(origin, origin, clocks=2)


# -- the AXI shell --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound_shell():
    return shell.sound(CONFIG)


def in_shell(mode, cell, port, bit):
    """A mutant at a pin of a part of the shell."""
    return Mutant(
        f"-mode {mode} -module {export.AXI_TOP} -cell {cell} -port {port} -portbit {bit} "
    )


def test_the_unit_in_the_shell_is_left_alone(sound_shell):
    some = netlist.mutants(sound_shell, 1000, SEED, among=shell.MODULES)
    modules = {mutant.argument("module").removeprefix(export.AXI_TOP) for mutant in some}
    assert len(some) == 1000
    assert {"", ".lite", ".resets", ".shell", ".shell.bank", ".requests.sent_sync"} <= modules
    assert not any(f"{module}.".startswith(".shell.unit.") for module in modules)
    assert not any(mutant.argument("port").lower().endswith("clk") for mutant in some)


def test_the_bench_of_the_shell_notices_a_mutant(sound_shell, monkeypatch):
    monkeypatch.setattr(shell, "CASES", ((7_300, False, ("register_rules",)),))
    mutants = [in_shell("inv", "lite", "bus__rresp", 1), in_shell("inv", "lite", "bus__awaddr", 0)]
    suite = shell.ShellSuite(CONFIG, sound_shell, SEED, "icarus")
    noticed, unnoticed = suite.failures(mutants)
    assert "answered as an error" in noticed
    assert unnoticed == ""


def test_a_shell_is_equivalent_only_if_its_ports_are(sound_shell):
    origin = shell.transitions(sound_shell)
    unused = in_shell("inv", "lite", "bus__awaddr", 0)
    used = in_shell("const0", "lite", "bus__rdata", 7)
    for mutant, same in ((unused, True), (used, False)):
        changed = shell.transitions(sound_shell, mutant)
        assert equivalence.equivalent(origin, changed, clocks=shell.CLOCKS) == same
