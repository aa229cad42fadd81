"""The command line: exit codes, JSON, help, and what a broken run says."""

import json
import re

import pytest

from upshift import cli
from upshift.cli import unit_options
from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.holders import Holder


def run(capsys, *arguments):
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for command in ("train", "generate", "verify", "devices", "bench", "experiment"):
        assert command in text


@pytest.mark.parametrize("command", ["train", "generate", "verify", "bench", "experiment"])
def test_every_command_has_help_with_examples(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert f"upshift {command}" in capsys.readouterr().out.split("examples:")[1]


def test_wrong_usage_ends_with_two(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["fly"])
    assert stop.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_train_prints_epochs_digests_and_phases(capsys, tmp_path):
    page = tmp_path / "report.html"
    status, out, _ = run(
        capsys, "train", "--device", "model:", "--epochs", "2", "--report", str(page)
    )
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == [
        "epoch", "loss", "accuracy", "q", "zero", "steps", "saturated", "updates/s",
    ]  # fmt: skip
    assert "0 mismatches" in out
    digests = {line.split()[-1] for line in lines if line.startswith("SHA-256")}
    assert len(digests) == 1
    text = page.read_text()
    assert text.count("<svg") == 3
    assert digests.pop() in text
    assert not re.search(r"""<script|<link|(src|href)=["'](?!#)""", text)  # opens offline


def test_train_as_json(capsys):
    status, out, _ = run(capsys, "train", "--device", "model:", "--epochs", "1", "--json")
    assert status == 0
    data = json.loads(out)
    assert data["updates"] == 23 * 9930
    assert data["comparisons"] == data["updates"]
    assert len(data["epochs"]) == 1
    assert len(set(data["digests"].values())) == 1


def test_train_ends_with_one_on_a_mismatch(capsys, monkeypatch):
    honest = Holder.raw_weights

    def dishonest(holder):
        weights = honest(holder)
        weights[7] += holder.name == "torch"
        return weights

    monkeypatch.setattr(Holder, "raw_weights", dishonest)
    status, _, err = run(capsys, "train", "--device", "model:", "--epochs", "1")
    assert status == 1
    assert "step 1: 1 of 9930 weights differ; the first is weight 7: model: holds" in err


def test_train_ends_with_one_when_reports_differ(capsys, monkeypatch):
    honest = Holder.reports
    monkeypatch.setattr(
        Holder,
        "reports",
        lambda holder: [] if holder.name == "torch" else honest(holder),
    )
    status, _, err = run(capsys, "train", "--device", "model:", "--epochs", "1")
    assert status == 1
    assert "reports differ" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "0"], "--epochs 0 is not allowed"),
        (["train", "--seed", "-1"], "--seed -1 is not allowed"),
        (["train", "--report", "/no/such/place/x.html"], "there is no such directory"),
        (["train", "--checkpoint", "/no/such/place/x.npz"], "there is no such directory"),
        (["train", "--checkpoint", "missing.npz", "--resume"], "no such checkpoint missing.npz: "),
        (["train", "--resume"], "--resume needs --checkpoint FILE"),
        (["train", "--device", "carrier-pigeon:"], "'carrier-pigeon:' names no device"),
        (["generate", "-o", "x", "--lanes", "3"], "lanes 3 is not allowed"),
        (["generate", "-o", "x", "--weight", "wide"], "'wide' names no format"),
        (["generate", "-o", "x", "--config", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_ends_with_two_and_says_why(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err


def test_device_trouble_ends_with_one(capsys, monkeypatch):
    def broken(url, **options):
        raise cli.DeviceError("the cable is gone")

    monkeypatch.setattr("upshift.device.open", broken)
    status, _, err = run(capsys, "train", "--device", "model:")
    assert (status, err.splitlines()[-1]) == (1, "upshift train: the cable is gone")


def test_a_missing_package_and_an_interrupt_are_told(capsys, monkeypatch):
    monkeypatch.setattr("upshift.cli.devices.run", None)
    for error, status, message in (
        (ImportError("no", name="rich"), 1, "needs the package rich"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):

        def fail(options, error=error):
            raise error

        monkeypatch.setattr("upshift.cli.devices.run", fail)
        assert cli.main(["devices"]) == status
        assert message in capsys.readouterr().err


def test_devices_lists_what_can_be_opened(capsys):
    status, out, _ = run(capsys, "devices")
    assert status == 0
    assert "model:   ready" in out
    status, out, _ = run(capsys, "devices", "--json")
    assert {"url": "model:", "state": "ready"} in json.loads(out)


@pytest.mark.parametrize(
    "error", [cli.DeviceError("no compiler"), ValueError("give a port: found /dev/ttyUSB0")]
)
def test_devices_says_what_is_missing(capsys, monkeypatch, error):
    def broken(url, **options):
        raise error

    monkeypatch.setattr("upshift.device.open", broken)
    status, out, _ = run(capsys, "devices")
    assert status == 0
    assert str(error) in out


def test_options_override_the_configuration_file(tmp_path):
    file = tmp_path / "unit.json"
    file.write_text('{"lanes": 4, "weight": "16.12"}')
    top = cli.parser()
    options = top.parse_args(
        ["generate", "-o", "x", "--config", str(file), "--lanes", "2", "--max-rate", "9"]
    )
    assert unit_options.from_options(options) == UnitConfig(
        lanes=2, weight=Fixed(16, 12), max_rate=9
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sweep", "0:12", "--lanes", "4"],
        ["--random", "2", "--weight", "16.12"],
        ["--faults", "5", "--config", "unit.json"],
        ["--device", "virtual", "--max-rate", "15"],
    ],
)
def test_a_check_with_its_own_unit_takes_no_other(arguments, capsys):
    assert cli.main(["verify", *arguments]) == 2
    error = capsys.readouterr().err
    assert f"{arguments[-2]} is not allowed with {arguments[0]}" in error


def test_shells_are_broken_by_mutants_only(capsys):
    assert cli.main(["verify", "--shell", "axi"]) == 2
    assert "--shell is for --mutants" in capsys.readouterr().err
