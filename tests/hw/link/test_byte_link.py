"""`upshift_hw.link.ByteLink` answers what `upshift.link.board.BoardModel` answers."""

import random
import zlib

import pytest

from upshift.config import UnitConfig
from upshift.formats import Fixed
from upshift.link import cobs
from upshift.link.board import BoardModel
from upshift.link.config import LinkConfig
from upshift.link.frames import (
    ANSWERS,
    ARGUMENTS,
    COMMANDS,
    HEADER,
    WINDOW,
    Answer,
    Frame,
    Request,
    max_payload,
    pack,
    unpack,
)
from upshift.words import word_bytes
from upshift_hw.link import ByteLink

LINK = LinkConfig(clock=12_000_000, baud=3_000_000, frame_bytes=128)
EXCHANGES = 40
CONFIGS = {
    "4 lanes": UnitConfig(lanes=4, depth=64),
    "1 lane, bytes": UnitConfig(
        lanes=1, weight=Fixed(8, 6), gradient=Fixed(8, 4), depth=37, max_rate=7
    ),
    "16 lanes, odd widths": UnitConfig(
        lanes=16, weight=Fixed(12, 9), gradient=Fixed(20, 8), depth=128, max_rate=0
    ),
    "2 lanes, wide words": UnitConfig(
        lanes=2, weight=Fixed(25, 20), gradient=Fixed(7, 6), depth=300, max_rate=63
    ),
}
CLOCKS = ("clocks", "stalls", "waits")
"""Fields of a status that the model does not foretell."""


def request(kind, sequence=0, of_session=0, data=b"", **fields):
    """Return the bytes of a request on the line."""
    return stuffed(
        Frame(kind, sequence, of_session, pack(ARGUMENTS[kind], fields) + data).to_bytes()
    )


def stuffed(frame):
    return cobs.encode(frame) + cobs.DELIMITER


def raw_frame(payload, *, length=None, kind=0x02):
    """Return the bytes of a frame whose check is right and whose length may be wrong."""
    length = len(payload) if length is None else length
    values = {"kind": kind, "sequence": 1, "length": length, "session": 0}
    body = pack(HEADER, values) + payload
    return stuffed(body + zlib.crc32(body).to_bytes(4, "little"))


def without_clocks(answers):
    """Return answers, as on the line, without what depends on the clock."""
    return [_comparable(part) for part in answers.split(cobs.DELIMITER)]


def _comparable(part):
    if not part:
        return part
    frame = Frame.from_bytes(cobs.decode(part))
    if frame.kind not in (Answer.STATUS, Answer.GAP):
        return part
    fields = unpack(ANSWERS[Answer.STATUS], frame.payload)
    kept = [value for name, value in fields.items() if name not in CLOCKS]
    return (frame.kind, frame.sequence, frame.session, *kept)


class Line:
    """A component with byte streams at both ends, driven clock by clock."""

    def __init__(self, context, link, rng):
        self.context, self.link, self.rng = context, link, rng
        self.received = bytearray()
        self.taking = 1.0  # chance that an answered byte is taken in a clock
        self.pause = 0  # clocks between bytes
        context.set(link.o.ready, 1)

    async def clock(self):
        context, link = self.context, self.link
        if context.get(link.o.valid) and context.get(link.o.ready):
            self.received.append(context.get(link.o.payload))
        await context.tick()
        context.set(link.o.ready, self.rng.random() < self.taking)

    async def send(self, data):
        context, link = self.context, self.link
        for byte in data:
            context.set(link.i.valid, 1)
            context.set(link.i.payload, byte)
            await self.clock()
            for _ in range(self.pause):
                context.set(link.i.valid, 0)
                await self.clock()
        context.set(link.i.valid, 0)

    async def settle(self, limit=20_000):
        """Wait until the link is idle; return what it has answered since the last time."""
        await self.clock()
        while self.context.get(self.link.busy):
            await self.clock()
            limit -= 1
            assert limit, "the link never comes to rest"
        answers = bytes(self.received)
        self.received.clear()
        return answers


@pytest.fixture
def converse(run, seed):
    """Function that runs an async script on a `Line` to a component."""

    def converse(component, script):
        async def testbench(context, reset):
            await script(Line(context, component, random.Random(seed)))

        run(component, testbench)

    return converse


class Traffic:
    """Draws what a host or a bad line may send to a board in the state of a model."""

    def __init__(self, model, rng):
        self.model, self.rng = model, rng
        self.config = model.config
        self.sent = []  # commands of this session

    def bytes(self, most):
        return bytes(self.rng.choice((0, self.rng.randrange(256))) for _ in range(self.below(most)))

    def below(self, most):
        """A number from 0 to `most`, at the edges more often."""
        rng = self.rng
        return rng.choice(
            (0, 1, most, max(most - 1, 0), rng.randint(0, most), rng.randint(0, most))
        )

    def fields(self, kind):
        """Fields of a request: in range for the most part, anything now and then."""
        rng, config = self.rng, self.config
        base = self.below(config.depth)
        values = {
            "base": base,
            "count": self.below(min(config.depth - base + rng.randrange(2), 40)),
            "rate": rng.choice((0, 1, config.max_rate, config.max_rate + 1, rng.randrange(8))),
            "resolution": rng.choice((config.max_resolution, config.max_resolution + 1, 0, 1, 3)),
            "encoding": rng.randrange(256),
            "command": (self.model.next - rng.randint(-1, 18)) % 65536,
            "session": rng.choice((0, rng.getrandbits(32), rng.getrandbits(32))),
        }
        if kind == Request.RAISE:
            values["resolution"] = rng.choice((0, 0, 1, 255))
        if kind == Request.TEST:
            values["count"] = self.below(max_payload(self.model.link.frame_bytes) + 1)
        chosen = {f.name: values[f.name] for f in ARGUMENTS[kind]}
        if rng.random() < 0.08 and chosen:
            field = rng.choice(ARGUMENTS[kind])
            chosen[field.name] = self.below((1 << field.width) - 1)
            if kind == Request.UPDATE and field.name == "count":
                chosen["base"] = 0
        return chosen

    def command(self, sequence, session):
        rng = self.rng
        kind = rng.choice((Request.UPDATE, Request.UPDATE, Request.WRITE, Request.RAISE))
        data = self.bytes(80) if kind != Request.RAISE or rng.random() < 0.1 else b""
        if kind == Request.UPDATE and rng.random() < 0.7:  # most lanes named, all words there
            size = word_bytes(self.config.gradient.width)
            data = bytes(rng.randrange(256) for _ in range(10 * size + 9))
        return request(kind, sequence, session, data, **self.fields(kind))

    def query(self):
        rng = self.rng
        kind = rng.choice(sorted(set(Request) - COMMANDS - {Request.BEGIN}))
        data = self.bytes(60) if kind == Request.TEST else b""
        session = rng.choice((self.model.session, rng.getrandbits(32)))
        return request(kind, rng.getrandbits(16), session, data, **self.fields(kind))

    def begin(self):
        session = self.rng.choice((self.model.session,) * 4 + (0, self.rng.getrandbits(32)))
        self.sent.clear()
        return request(Request.BEGIN, 1, session, **self.fields(Request.BEGIN))

    def nonsense(self):
        """Return a frame that is whole and means nothing, or that is none."""
        rng, frame_bytes = self.rng, self.model.link.frame_bytes
        return rng.choice(
            (
                lambda: raw_frame(self.bytes(20), kind=rng.randrange(256)),
                lambda: raw_frame(self.bytes(8), kind=rng.choice(list(Request))),
                lambda: raw_frame(self.bytes(20), length=rng.randrange(65536)),
                lambda: raw_frame(bytes(max_payload(frame_bytes) + rng.randint(-1, 2))),
                lambda: self.damaged(self.command(self.model.next, self.model.session)),
                lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(40))) + b"\0",
                lambda: bytes(rng.randrange(1, 256) for _ in range(3 * frame_bytes)) + b"\0",
                lambda: b"\0" * rng.randrange(4),
            )
        )()

    def damaged(self, frame):
        rng = self.rng
        data = bytearray(frame)
        place = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                del data[place]
            case 2:
                data.insert(place, rng.randrange(256))
            case _:
                del data[place : place + rng.randrange(20)]
        return bytes(data) + b"\0"

    def draw(self):
        """Return some bytes to send."""
        rng, model = self.rng, self.model
        chance = rng.random()
        if chance < 0.45:
            self.sent.append(self.command(model.next, model.session))
            return self.sent[-1]
        if chance < 0.55 and self.sent:
            return rng.choice(self.sent[-18:])
        if chance < 0.62:
            sequence = (model.next + rng.randint(-20, 20)) % 65536
            return self.command(sequence, rng.choice((model.session, 0, rng.getrandbits(32))))
        if chance < 0.82:
            return self.query()
        if chance < 0.86:
            return self.begin()
        return self.nonsense()


async def exchange(line, model, sent):
    """Send bytes; what comes back must be what the model answers."""
    await line.send(sent)
    answers = await line.settle()
    assert without_clocks(answers) == without_clocks(model.receive(sent)), sent.hex()


async def compare_weights(line, model):
    size = max_payload(model.link.frame_bytes) // word_bytes(model.config.weight.width)
    for base in range(0, model.config.depth, size):
        count = min(size, model.config.depth - base)
        await exchange(line, model, request(Request.READ, base=base, count=count))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_answers_are_those_of_the_model(converse, seed, config):
    model = BoardModel(config, LINK)
    traffic = Traffic(model, random.Random(seed))

    async def script(line):
        line.taking = traffic.rng.choice((1.0, 0.3))
        await exchange(line, model, request(Request.BEGIN, session=5))
        for _ in range(EXCHANGES):
            await exchange(line, model, traffic.draw())
        await compare_weights(line, model)

    converse(ByteLink(config, LINK), script)


def test_bytes_without_meaning_change_nothing(converse, seed):
    """Random bytes, some between zeros and some in frames whose check is right."""
    config = CONFIGS["4 lanes"]
    model = BoardModel(config, LINK)
    rng = random.Random(seed)
    write = request(Request.WRITE, 0, 5, rng.randbytes(90), base=0, count=30)

    async def script(line):
        await exchange(line, model, request(Request.BEGIN, session=5))
        await exchange(line, model, write)
        before = model.unit.weights.copy()
        for _ in range(12):
            zeros = rng.choice((0.3, 0.03, 0.003))
            noise = [0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(250)]
            whole = raw_frame(rng.randbytes(30), kind=rng.randrange(256))
            await exchange(line, model, bytes(noise) + b"\0" + whole)
        assert (model.unit.weights == before).all()
        await exchange(line, model, request(Request.STATUS))
        await compare_weights(line, model)

    converse(ByteLink(config, LINK), script)


def test_a_full_window_sent_without_a_pause_is_executed_whole(converse, seed):
    """The line never idles, answers are taken slowly, and the ring is full at times."""
    config = CONFIGS["4 lanes"]
    model = BoardModel(config, LINK)
    rng = random.Random(seed)
    burst = {"base": 2, "rate": 0, "resolution": config.max_resolution}

    async def script(line):
        line.pause = 2  # as dense as any line that is no part of the chip
        await exchange(line, model, request(Request.BEGIN, session=5))
        sent = [
            request(Request.UPDATE, n, 5, rng.randbytes(60), count=30, encoding=0, **burst)
            for n in range(WINDOW)
        ]
        await exchange(line, model, b"".join(sent))
        await exchange(line, model, request(Request.STATUS))
        # Nobody takes the answers: some of the frames find no room, and none of them half.
        line.taking = 0.0
        sent = [request(Request.TEST, n, data=bytes(50), count=100) for n in range(16)]
        await line.send(b"".join(sent))
        line.taking = 1.0
        answers = await line.settle()
        kept = [Frame.from_bytes(cobs.decode(part)).sequence for part in answers.split(b"\0")[:-1]]
        assert 4 <= len(kept) < len(sent)
        assert answers == b"".join(model.receive(sent[n]) for n in sorted(set(kept)))
        model.receive(b"\1\0" * (len(sent) - len(kept)))  # the model rejects as many
        await exchange(line, model, request(Request.STATUS))
        await compare_weights(line, model)

    converse(ByteLink(config, LINK), script)


def test_a_reset_is_a_loss_of_power_that_keeps_the_weights(run, seed):
    config = CONFIGS["4 lanes"]
    model = BoardModel(config, LINK)
    rng = random.Random(seed)
    dut = ByteLink(config, LINK)

    async def testbench(context, reset):
        line = Line(context, dut, rng)
        for _ in range(3):
            await exchange(line, model, request(Request.BEGIN, session=rng.randrange(1, 9)))
            for _ in range(2):
                command = request(
                    Request.WRITE, model.next, model.session, rng.randbytes(60), base=7, count=20
                )
                await exchange(line, model, command)
            await line.send(request(Request.READ, base=0, count=10)[: rng.randrange(40)])
            for _ in range(rng.randrange(20)):
                await line.clock()
            context.set(reset, 1)
            await context.tick()
            context.set(reset, 0)
            line.received.clear()
            weights = model.unit.weights
            model.power_cycle()
            model.unit.weights[:] = weights
            await exchange(line, model, request(Request.STATUS))
            await compare_weights(line, model)

    run(dut, testbench)
