"""A network learns through the compiled RTL, and a broken unit is noticed everywhere."""

import json
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest
import torch
from torch import nn

import upshift.device
from upshift import checkpoint, cli, training
from upshift.checkpoint import Checkpoint
from upshift.config import UnitConfig
from upshift.device.model import ModelDevice
from upshift.formats import Fixed, bfloat16
from upshift.optim import Band, QtAdam, QtSGD


@pytest.mark.parametrize("seed", range(5))
def test_the_demonstration_learns_the_digits_on_any_seed(seed):
    *_, run = training.train("rtl:", epochs=30, seed=seed)
    assert run.accuracy >= 0.95
    assert run.updates >= 1_000_000
    assert run.comparisons == 2 * run.updates
    assert set(run.digests) == {"rtl:", "torch", "model:"}
    assert len(set(run.digests.values())) == 1


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        (QtSGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
        (QtAdam, {"decoupled_weight_decay": True, "weight_decay": 0.01}),
    ],
)
def test_every_mirror_and_holder_has_the_same_bits(kind, own):
    config = UnitConfig(lanes=4, depth=64)

    def learn(device, **options):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
        optimizer = kind(
            model.parameters(),
            2**-4,
            resolution=Band(),
            weight=config.weight,
            gradient=config.gradient,
            device=device,
            **own,
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


class Board(ModelDevice):
    """Behind a long cable: what it is was decided elsewhere, and asking it for much takes long."""

    distant = True
    config_of_all = UnitConfig(lanes=4, depth=16384, weight=Fixed(16, 14), gradient=bfloat16)
    flip_after = None

    def __init__(self):
        super().__init__(self.config_of_all)
        self.read_words = self.checksums = 0

    def _read(self, base, count):
        self.read_words += count
        return super()._read(base, count)

    def _checksum(self, base, count):
        self.checksums += 1
        if self.checksums == self.flip_after:
            self._unit.weights[1234] ^= 1
        before, crc = self.read_words, super()._checksum(base, count)
        self.read_words = before  # computed over there
        return crc


@pytest.fixture
def board(monkeypatch):
    """Make ``board:`` a URL."""
    points = [
        EntryPoint("board", "here", "upshift.devices"),
        EntryPoint("model", "upshift.device.model:open_model", "upshift.devices"),
    ]
    real = EntryPoint.load
    monkeypatch.setattr(upshift.device, "entry_points", lambda group: points)
    monkeypatch.setattr(
        EntryPoint,
        "load",
        lambda self: (lambda *_: Board()) if self.name == "board" else real(self),
    )


def test_a_distant_device_is_compared_by_checksums_and_whole_after_each_epoch(board):
    opened = []
    *_, run = training.train("board:", epochs=2, seed=3, opened=opened.append)
    assert run.config == Board.config_of_all
    assert len(set(run.digests.values())) == 1
    assert run.updates == run.steps * 9930
    assert (run.steps, run.checksums) == (46, 92)
    assert run.comparisons == 2 * 2 * 9930
    assert opened[0].checksums == 46
    assert opened[0].read_words == 3 * 9930 + 1, "two epochs, the digest, and the address check"


def test_a_distant_device_that_loses_a_bit_is_found_out_in_that_step(board, capsys, monkeypatch):
    monkeypatch.setattr(Board, "flip_after", 5)
    assert cli.main(["train", "--device", "board:", "--epochs", "1"]) == 1
    message = "MISMATCH at step 5: 1 of 9930 weights differ; the first is weight 1234: board: holds"
    assert message in capsys.readouterr().err


def test_a_distant_device_whose_checksum_is_wrong_is_found_out(board, capsys, monkeypatch):
    monkeypatch.setattr(Board, "_checksum", lambda *_: 0xBAD)
    assert cli.main(["train", "--device", "board:", "--epochs", "1"]) == 1
    message = "board: says its weights have the checksum 0x00000bad, those of torch have 0x"
    assert message in capsys.readouterr().err


def test_what_was_compared_how_is_printed(board, capsys):
    assert cli.main(["train", "--device", "board:", "--epochs", "1"]) == 0
    assert (
        "228,390 weight updates by board:, 19,860 weights compared one by one and "
        "all of them 46 times by checksum, 0 mismatches"
    ) in capsys.readouterr().out


def test_a_board_that_is_too_small_says_so(board, capsys, monkeypatch):
    monkeypatch.setattr(Board, "config_of_all", UnitConfig(depth=4096))
    assert cli.main(["train", "--device", "board:", "--epochs", "1"]) == 2
    message = "sizes [144, 16, 4608, 32, 5120, 10] end at address 9930, but the device holds 4096"
    assert message in capsys.readouterr().err


def test_gradients_that_a_board_does_not_take_are_refused(board, capsys):
    assert cli.main(["train", "--device", "board:", "--gradient", "float32"]) == 2
    assert "gradient float32 is not allowed: board: takes gradients of bfloat16" in (
        capsys.readouterr().err
    )


def facts(run):
    """Return all that a run says but for the time it took."""
    epochs = [vars(epoch) | {"update_seconds": None} for epoch in run.epochs]
    return epochs, run.digests, run.steps, run.comparisons, run.checksums


@pytest.mark.parametrize(
    ("url", "optimizer"),
    [("model:", "sgd"), ("rtl:", "sgd"), ("board:", "sgd"), ("model:", "adam")],
)
def test_a_run_in_two_parts_has_the_bits_of_one(tmp_path, request, url, optimizer):
    if url == "board:":
        request.getfixturevalue("board")
    file = tmp_path / "run.npz"

    def train(epochs, **options):
        return training.train(url, epochs=epochs, seed=1, optimizer=optimizer, **options)

    *_, whole = train(4)
    *_, _ = train(2, checkpoint=file)
    told = [len(run.epochs) for run in train(4, checkpoint=file, resume=True)]
    assert told == [2, 3, 4]
    *_, run = train(5, checkpoint=file, resume=True)
    *_, longer = train(5)
    assert facts(run) == facts(longer)
    assert [vars(e) | {"update_seconds": 0} for e in whole.epochs] == [
        vars(e) | {"update_seconds": 0} for e in longer.epochs[:4]
    ]


def test_a_killed_run_resumes_with_the_same_bits(tmp_path, capsys):
    file = tmp_path / "run.safetensors"
    arguments = ["train", "--device", "model:", "--epochs", "4", "--checkpoint", str(file)]
    code = "import sys; from upshift import cli; sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        lines = [next(child.stdout) for _ in range(3)]
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert cli.main([*arguments, "--resume", "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    *_, whole = training.train("model:", epochs=4, seed=0)
    assert resumed["digests"] == whole.digests
    assert [epoch["epoch"] for epoch in resumed["epochs"]] == [0, 1, 2, 3]

    file.unlink()
    assert cli.main([*arguments[:4], "2", *arguments[5:]]) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in first[:3]] == [line.split()[:4] for line in lines]
    assert cli.main([*arguments[:4], "3", *arguments[5:], "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == first[:3], "the table begins as it was"


def test_checkpoints_that_do_not_fit_are_refused(tmp_path, board):
    file = tmp_path / "run.npz"
    *_, _ = training.train("model:", epochs=1, seed=1, checkpoint=file)

    def refuses(message, url="model:", epochs=2, seed=1, resume=True, **options):
        options |= {"epochs": epochs, "seed": seed, "checkpoint": file, "resume": resume}
        with pytest.raises(ValueError, match=message):
            next(training.train(url, **options))

    refuses("run.npz exists: resume the run in it, or remove it", resume=False)
    refuses("is of a run with seed 1, not 2", seed=2)
    refuses("is of a run with optimizer sgd, not adam", optimizer="adam")
    refuses("optimizer 'cake' is not allowed: sgd or adam", optimizer="cake")
    refuses("has 1 epochs already: 1 in all leave none to train", epochs=1)
    refuses("holds weights 18.16 for gradients 16.12, but the opt", url="board:")
    kept = checkpoint.read(file)
    checkpoint.write(file, Checkpoint(kept.weight, None, None, kept.weights, {}, {}, "a cake"))
    refuses("is not the checkpoint of such a run")
    np.savez(file, cake=np.zeros(1))
    refuses("damaged or not a checkpoint")


@pytest.mark.parametrize("fault", [2, 3])
def test_training_on_a_broken_unit_ends_with_one(capsys, fault):
    assert cli.main(["train", "--device", f"rtl:?fault={fault}", "--epochs", "1"]) == 1
    assert "differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "status", "broken"),
    [
        (None, 0, set()),
        (2, 1, {"compiled RTL", "Icarus, cocotb", "Verilator, cocotb"}),
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
