"""A network learns through the compiled RTL, and a broken unit is noticed everywhere."""

import json

import pytest
import torch
from torch import nn

import upshift.device
from upshift import cli, training
from upshift.config import UnitConfig
from upshift.optim import Band, QtSGD


@pytest.mark.parametrize("seed", range(5))
def test_the_demonstration_learns_the_digits_on_any_seed(seed):
    *_, run = training.train("rtl:", epochs=30, seed=seed)
    assert run.accuracy >= 0.95
    assert run.updates >= 1_000_000
    assert run.comparisons == 2 * run.updates
    assert set(run.digests) == {"rtl:", "torch", "model:"}
    assert len(set(run.digests.values())) == 1


def test_every_mirror_and_holder_has_the_same_bits():
    config = UnitConfig(lanes=4, depth=64)

    def learn(device, **options):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        optimizer = QtSGD(
            model.parameters(),
            2**-4,
            momentum=0.9,
            nesterov=True,
            weight_decay=0.01,
            resolution=Band(),
            weight=config.weight,
            gradient=config.gradient,
            device=device,
            **options,
        )
        for _ in range(30):
            optimizer.zero_grad()
            (model(torch.randn(6, 5)) - 1).square().sum().backward()
            optimizer.step()
        return torch.cat([p.detach().ravel() for p in model.parameters()]), optimizer

    software, reference = learn(None)
    for url in ("model:", "rtl:"):
        for mirror in ("read", "model"):
            with upshift.device.open(url, config) as device:
                weights, optimizer = learn(device, base=5, mirror=mirror, check_every=3)
            assert torch.equal(weights, software)
            assert list(optimizer.reports.values()) == list(reference.reports.values())
            assert optimizer.state_dict()["resolution"] == reference.state_dict()["resolution"]


@pytest.mark.parametrize("fault", [1, 3])
def test_training_on_a_broken_unit_ends_with_one(capsys, fault):
    assert cli.main(["train", "--device", f"rtl:?fault={fault}", "--epochs", "1"]) == 1
    assert "differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "status", "broken"),
    [
        (None, 0, set()),
        (3, 1, {"compiled RTL", "Icarus, cocotb", "Verilator, cocotb"}),
    ],
)
def test_verify_climbs_all_rungs_and_notices_a_broken_unit(capsys, tmp_path, fault, status, broken):
    options = ["--lanes", "2", "--depth", "32", "--bursts", "40"]
    if fault is not None:
        options += ["--fault", str(fault)]
    assert cli.main(["verify", "--json", *options]) == status
    data = json.loads(capsys.readouterr().out)
    rungs = {rung["name"]: rung for rung in data["rungs"]}
    assert list(rungs) == [
        "exact rationals",
        "torch",
        "Amaranth simulator",
        "compiled RTL",
        "Icarus, cocotb",
        "Verilator, cocotb",
    ]
    assert {name for name, rung in rungs.items() if rung["failure"]} == broken
    for rung in rungs.values():
        assert not rung["missing"]
        if not rung["failure"]:
            assert rung["updates"] > 300
            assert rung["weights"] >= 32
            assert rung["reports"] >= 40


def test_verify_prints_a_line_for_each_rung(capsys, monkeypatch):
    monkeypatch.setattr("upshift_sim.bench.runner.shutil.which", lambda *_, **__: None)
    assert cli.main(["verify", "--lanes", "1", "--depth", "16", "--bursts", "5"]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("  equal, ") == 3
    assert captured.out.count("not run") == 3
    assert "install Icarus Verilog" in captured.err
    assert "needs a C++ compiler" in captured.err


def test_bench_prints_ratios_of_one_run(capsys):
    assert cli.main(["bench", "--rounds", "1", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    names = [row["what"] for row in data["rows"]]
    assert len(names) == 2 * len(set(names)) == 10
    for row in data["rows"]:
        assert row["updates_per_second"] > 0
        if row["what"].endswith("bare loop"):
            assert row["ratio"] == 1
    assert cli.main(["bench", "--rounds", "1"]) == 0
    assert "bare loop" in capsys.readouterr().out
    assert cli.main(["bench", "--rounds", "0"]) == 2
