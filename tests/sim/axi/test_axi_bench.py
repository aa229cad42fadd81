"""The unit in its AXI shell: every kind of unit, clock ratio and pause, and that it can fail."""

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift_hw import export
from upshift_sim.axi_bench import runner
from upshift_sim.axi_bench.checkers import PATIENCE, ChannelChecker, LiteChecker, ProtocolError
from upshift_sim.axi_bench.scenarios import SCENARIOS
from upshift_sim.bench.runner import BenchError

RESIDENT = UnitConfig(lanes=4, weight=Fixed(18, 16), gradient=Fixed(10, 6), depth=64, max_rate=12)
UPDATES = UnitConfig(lanes=4, weight=Fixed(12, 9), gradient=Fixed(16, 12), depth=64, updates=True)
STREAMED = UnitConfig(lanes=2, gradient=Fixed(12, 8), depth=32, memory="streamed")
FLOATS = UnitConfig(lanes=2, weight=Fixed(16, 12), gradient=bfloat16, depth=32, memory="streamed")
# Configuration, period of the unit's clock in ps (the bus has 10000), idle, stall.
CASES = {
    "unit faster": (RESIDENT, 7_300, False, False),
    "one clock": (RESIDENT, None, False, True),
    "unit slower": (UPDATES, 23_458, True, False),
    "nearly equal": (UPDATES, 9_990, True, True),
    "streamed, unit faster": (STREAMED, 3_100, False, True),
    "streamed floats, one clock": (FLOATS, None, True, False),
    "streamed floats, unit slower": (FLOATS, 17_000, False, False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_icarus(case, seed, tmp_path):
    config, unit_period, idle, stall = case
    result = runner.run(
        config,
        "icarus",
        scenarios=SCENARIOS,
        unit_period=unit_period,
        idle=idle,
        stall=stall,
        seed=seed,
        directory=tmp_path,
    )
    assert result.commands > result.reports > 80
    assert result.rows > 100


def test_verilator(seed, tmp_path):
    result = runner.run(
        UPDATES,
        "verilator",
        scenarios=["equality", "wrong_lengths", "resets"],
        unit_period=7_300,
        seed=seed,
        directory=tmp_path,
    )
    assert result.reports > 50


@pytest.mark.parametrize(
    ("scenario", "before", "after"),
    [
        ("wrong_lengths", ".axis__tlast(s_axis_gradients_tlast)", ".axis__tlast(1'h0)"),
        ("resets", "assign bus_rst = ~ aresetn", "assign bus_rst = 1'h0"),
    ],
)
def test_a_broken_shell_is_noticed(scenario, before, after, seed, tmp_path):
    verilog = export.axi_verilog(STREAMED, one_clock=True)
    assert before in verilog
    with pytest.raises(BenchError):
        runner.run(
            STREAMED,
            "icarus",
            scenarios=[scenario],
            unit_period=None,
            seed=seed,
            directory=tmp_path,
            verilog=verilog.replace(before, after),
        )


# -- the checkers --------------------------------------------------------------------------------


class Handle:
    """A signal of a simulator, as far as the checkers look at it."""

    def __init__(self):
        self.word: int | None = 0

    @property
    def value(self):
        return self

    @property
    def is_resolvable(self):
        return self.word is not None

    def __int__(self):
        assert self.word is not None
        return self.word


class Pins:
    """Signals by name, made when they are asked for."""

    def __getattr__(self, name):
        handle = Handle()
        setattr(self, name, handle)
        return handle

    def set(self, **words):
        for name, word in words.items():
            getattr(self, name).word = word


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"valid": 1}, {"valid": 0}], "was offered and not taken, now None"),
        ([{"valid": 1, "data": 5}, {"data": 6}], "was offered and not taken, now"),
        ([{"valid": None}], "VALID is"),
        ([{"ready": None}], "READY is"),
        ([{"valid": 1, "data": None}], "data is"),
    ],
)
def test_a_channel_that_breaks_a_rule_is_noticed(steps, message):
    pins = Pins()
    checker = ChannelChecker(pins, "x_", ("data",))
    *before, last = steps
    for step in before:
        pins.set(**{f"x_{name}": word for name, word in step.items()})
        checker.sample(reset=0)
    pins.set(**{f"x_{name}": word for name, word in last.items()})
    with pytest.raises(ProtocolError, match=message):
        checker.sample(reset=0)


def test_valid_in_reset_is_noticed_and_transfers_are_counted():
    pins = Pins()
    checker = ChannelChecker(pins, "x_", ("data",))
    pins.set(x_valid=1, x_data=7)
    checker.sample(reset=0)
    assert checker.moved is None
    pins.set(x_ready=1)
    checker.sample(reset=0)
    assert checker.moved == {"data": 7}
    assert checker.count == 1
    with pytest.raises(ProtocolError, match="VALID is high in reset"):
        checker.sample(reset=2)


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (("aw", "b"), "a write response came before"),
        (("w", "b"), "a write response came before"),
        (("aw", "r"), "a read response came before"),
    ],
)
def test_a_response_before_its_cause_is_noticed(channels, message):
    pins = Pins()
    checker = LiteChecker(pins, "s_axi")
    for channel in channels:
        pins.set(**{f"s_axi_{channel}valid": 1, f"s_axi_{channel}ready": 1})
        if channel in ("b", "r"):
            with pytest.raises(ProtocolError, match=message):
                checker.sample(reset=0)
        else:
            checker.sample(reset=0)
        pins.set(**{f"s_axi_{channel}valid": 0})


@pytest.mark.parametrize("ready", [0, 1])
def test_an_access_without_an_answer_is_noticed(ready):
    pins = Pins()
    checker = LiteChecker(pins, "s_axi")
    pins.set(s_axi_arvalid=1, s_axi_arready=ready)
    checker.sample(reset=0)
    pins.set(s_axi_arvalid=1 - ready)
    for _ in range(PATIENCE - 1 + ready):
        checker.sample(reset=0)
    with pytest.raises(ProtocolError, match="not answered"):
        checker.sample(reset=0)


def test_a_response_that_is_neither_okay_nor_slverr_is_noticed():
    pins = Pins()
    checker = LiteChecker(pins, "s_axi")
    pins.set(s_axi_arvalid=1, s_axi_arready=1)
    checker.sample(reset=0)
    pins.set(s_axi_arvalid=0, s_axi_rvalid=1, s_axi_rready=1, s_axi_rresp=3)
    with pytest.raises(ProtocolError, match="response 3"):
        checker.sample(reset=0)
