"""Whatever a line does, the weights are those of a perfect line, or an error says what is known."""

import dataclasses
import random

import numpy as np
import pytest

from upshift.config import UnitConfig
from upshift.device import DeviceError
from upshift.device.link import LinkDevice
from upshift.formats import Fixed
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.faults import FaultRates, FaultyLine, ModelLine
from upshift.reference import step

CONFIG = UnitConfig(lanes=4, depth=256, weight=Fixed(12, 10))
SMALL = dataclasses.replace(CONFIG, depth=16)
LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=128)
KINDS = [field.name for field in dataclasses.fields(FaultRates)]


class Run:
    """One run of random bursts over a bad line, and what it must come to."""

    def __init__(self, seed, rates, config=CONFIG, *, timeout=30, **options):
        self.config = config
        self.timeout = timeout
        self.rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.board = BoardModel(config, LINK)
        power = self.board.power_cycle
        line = ModelLine(self.board)
        self.line = FaultyLine(line, self.random, rates, power_cycle=power, **options)
        self.weights = self.rng.integers(-2000, 2000, config.depth)
        self.pending = []
        self.open()

    def open(self):
        """Start the host, with the weights as its checkpoint."""
        options = {"timeout": self.timeout, "reconnect": 300, "rng": self.random}
        self.device = LinkDevice(self.line, self.config, **options)
        self.device.write(0, self.weights)
        self.pending.clear()

    def submit(self, bursts):
        for _ in range(bursts):
            base = int(self.rng.integers(self.config.depth))
            count = int(self.rng.integers(1, self.config.depth - base + 1))
            words = self.rng.integers(-(2**15), 2**15, count) >> self.rng.integers(16)
            control = {
                "rate": int(self.rng.integers(8)),
                "resolution": int(self.rng.integers(11)),
            }
            part = self.weights[base : base + count]
            part[:], report = step(part, words, config=self.config, **control)
            self.pending.append((self.device.submit(base, words, **control), report))

    def check(self):
        for pending, report in self.pending:
            assert pending.result() == report
        self.pending.clear()
        assert self.device.read(0, self.config.depth).tolist() == self.weights.tolist()
        if not self.line.rates.power:  # or it may have lost them right behind that answer
            assert self.board.unit.weights.tolist() == self.weights.tolist()

    @property
    def faulted(self):
        return sum(self.line.faults[kind] for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_leaves_the_weights_of_a_clean_run(seed, kind):
    happened = 0
    for n in range(4):
        run = Run(seed + n, FaultRates(**{kind: 0.1}))
        run.submit(40)
        run.check()
        assert run.faulted == run.line.faults[kind]
        happened += run.faulted
    assert happened > 20


def test_all_faults_together(seed):
    faulted = 0
    rates = FaultRates(*[0.03] * 7, disconnect=0.005, power=0.003)
    while faulted < 4000:
        run = Run(seed + faulted, rates)
        for _ in range(5):
            run.submit(30)
            run.check()
        faulted += run.faulted


def test_a_perfect_line_carries_every_frame_once(seed):
    run = Run(seed, FaultRates())
    run.submit(100)
    run.check()
    statistics = run.device.statistics()
    assert statistics["frames_resent"] == statistics["frames_rejected"] == 0
    assert run.board.repeated == run.board.rejected == 0
    assert statistics["frames_sent"] == statistics["frames_received"] == run.board.frames - 1


def test_a_line_that_is_gone_at_any_byte(seed):
    end, at, reconnects = 2, 1, 0
    while at < end:
        run = Run(seed, FaultRates(), SMALL, disconnect_at=at)
        run.submit(2)
        run.check()
        reconnects += run.device.statistics()["reconnects"]
        end, at = run.line.bytes, at + 1
    assert end > 350
    assert end > reconnects > end - 100, "the others were lost before the board was known"


def test_a_host_that_dies_begins_again_from_its_checkpoint(seed):
    run = Run(seed, FaultRates(*[0.02] * 7))
    for _ in range(40):
        checkpoint = run.weights.copy()
        run.submit(int(run.rng.integers(10)))
        if run.random.random() < 0.5:
            run.check()
            continue
        for _ in range(run.random.randrange(30)):
            if run.device._session.busy:
                run.device._driver._step()  # some of it goes out, then the process is gone
        run.weights = checkpoint
        run.open()
    run.check()


def test_where_too_much_is_lost_an_error_says_what_is_known(seed):
    for n in range(5):
        run = Run(seed + n, FaultRates(), timeout=5)
        run.line.rates = FaultRates(flip=0.75, drop=0.2)
        run.submit(60)
        with pytest.raises(
            DeviceError, match=r"\d+ commands are applied, \d+ more may be"
        ) as first:
            run.check()
        with pytest.raises(DeviceError) as later:
            run.device.update(0, [1], rate=0, resolution=4)
        assert later.value is first.value, "the same error from now on"
        with pytest.raises(DeviceError):
            run.pending[-1][0].result()


def test_weights_that_nobody_knows_any_more_are_an_error(seed):
    run = Run(seed, FaultRates())
    run.check()
    again = LinkDevice(run.line, CONFIG, rng=run.random)
    again.write(0, [5] * 10)
    assert again.read(0, 12).tolist() == [5] * 10 + run.weights[10:12].tolist()
    run.board.power_cycle()
    assert again.read(0, 12).tolist() == [5] * 10 + run.weights[10:12].tolist()
    message = "weights 11 to 13 are not all known: the board has lost its memory"
    with pytest.raises(DeviceError, match=message):
        again.read(11, 3)
    with pytest.raises(DeviceError, match=message):
        again.update(11, [1, 2, 3], rate=0, resolution=4)
    with pytest.raises(DeviceError, match=message):
        again.checksum(11, 3)
    again.write(11, [1, 2, 3])
    assert again.update(11, [0, 0, 0], rate=0, resolution=4).elements == 3


def test_updates_of_weights_that_were_never_written_survive_a_power_loss(seed):
    run = Run(seed, FaultRates())
    run.check()
    run.device = LinkDevice(run.line, CONFIG, rng=run.random)
    for loses_power in (False, True):
        if loses_power:
            run.board.power_cycle()
        words = run.rng.integers(-(2**15), 2**15, 100)
        part = run.weights[50:150]
        part[:], expected = step(part, words, config=CONFIG, rate=4, resolution=8)
        assert run.device.update(50, words, rate=4, resolution=8) == expected
    assert run.device.read(50, 100).tolist() == run.weights[50:150].tolist()


def test_a_line_that_stays_away_is_given_up(seed):
    run = Run(seed, FaultRates())
    run.check()
    run.submit(1)
    run.line.reopen = lambda pause: (run.line._line.reopen(pause), raise_gone())
    run.line.rates = FaultRates(disconnect=1)
    message = (
        r"faulty model line: the line is gone: the cable was pulled, and it did not come back for "
        r"300 s \(no port\); \d+ commands are applied, \d more may be"
    )
    with pytest.raises(DeviceError, match=message):
        run.check()


def raise_gone():
    raise DeviceError("no port")


def test_power_faults_need_somebody_who_takes_the_power():
    with pytest.raises(ValueError, match="power faults need power_cycle"):
        FaultyLine(ModelLine(BoardModel(CONFIG, LINK)), random.Random(0), FaultRates(power=0.1))
