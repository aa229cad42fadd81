"""The benchmark of optimizers: its rows, its peers, and the rule on 16-bit integers."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from upshift import cli
from upshift.optim import Band, QtSGD
from upshift_sim import optim_bench


def test_rows_are_ratios_to_the_fused_optimizer_of_their_family(capsys):
    assert cli.main(["bench", "--optim", "4e3", "--rounds", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(row["elements"], row["tensors"]) for row in found["rows"]} == {(4000, 1), (4000, 1000)}
    names = {row["what"] for row in found["rows"]}
    assert {"torch foreach", "QtSGD", "QtSGD, no compiler", "QtAdam"} <= names
    told = names | set(found["missing"])
    for peer in ("torchao Adam8bit", "QPyTorch SGD"):
        assert any(each.startswith(peer) for each in told), "measured, or listed with its error"
    for row in found["rows"]:
        assert 0 < row["worst_ratio"] <= row["ratio"]
        assert row["extra_bytes"] is None
        assert row["what"] != "torch fused" or row["ratio"] == 1.0
    assert {"date", "threads", "torch", "upshift"} <= set(found["machine"])


def test_the_table_names_what_was_not_measured(capsys, monkeypatch):
    def missing():
        raise ImportError("No module named 'torchao'")

    monkeypatch.setattr(optim_bench, "_torchao", missing)
    monkeypatch.setattr(optim_bench, "_available", lambda: 10**6)
    assert cli.main(["bench", "--optim", "1000", "20000", "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert "not measured: torchao Adam8bit: ImportError: No module named 'torchao'" in text
    assert "not measured: Adam, 20,000 parameters in 1: needs" in text
    assert "SGD, momentum 0.9, 1,000 in 1,000" in text


def test_sizes_are_multiples_of_a_thousand(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "--optim", "1500"])
    assert "1500 is not allowed: a multiple of 1000" in capsys.readouterr().err


def test_weights_in_16_bits_are_those_of_the_optimizer(rng):
    size = 200_003
    start = torch.from_numpy(rng.normal(size=size)).float()
    g = torch.from_numpy(rng.normal(size=size) * 2.0**-6).float()
    p, other = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer = QtSGD([p], optim_bench.RATE, resolution=Band(), weight=optim_bench.SHORT)
    p.grad = other.grad = g.clone()
    short = optim_bench.ShortSGD([other])
    for number in range(4):
        p.grad.copy_(g * 2.0 ** (8 * number - 12))  # it is that of both
        optimizer.step()
        short.step()
    assert short.policy.q == optimizer.resolution.q
    assert np.array_equal(
        short.raw[0].numpy(), optim_bench.SHORT.encode(p.detach().double().numpy())
    )
    assert (short.raw[0] == optim_bench.SHORT.max).any()
