"""All proofs, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from upshift.config import UnitConfig
from upshift.formats import Fixed, Format, bfloat16, float32
from upshift_sim.formal import arithmetic, control, counters
from upshift_sim.formal.claims import Claims
from upshift_sim.formal.proof import Proof

_DEFAULT = UnitConfig()
_PIPELINES = (4, 5, 6, 7, 8, 9)
_SMALL = UnitConfig(lanes=2, weight=Fixed(2, 1), gradient=Fixed(2, 1), depth=8, max_rate=2)
"""Control does not depend on widths, so they are as small as they can be."""


def catalogue() -> list[Proof]:
    """Return all proofs, those of a group together."""
    proofs = [
        *_align(),
        *_lane(),
        *_subtraction(),
        *_saturation(),
        *_element(),
        *_needed(),
        *_control(),
        *_counting(),
        *_queue(),
    ]
    names = [proof.name for proof in proofs]
    assert len(set(names)) == len(names)
    return proofs


def _complete(name: str, says: str, claims: Callable[[], Claims], *, quick: bool = False) -> Proof:
    return Proof(name, says, claims, "any state", quick)


def _align() -> Iterator[Proof]:
    says = "An aligned step is floor(2^(F+1-k) g), saturated to B+2 bits; not a number is zero."
    shapes: list[tuple[Fixed, Format]] = [
        (_DEFAULT.weight, _DEFAULT.gradient),
        (Fixed(4, 2), Fixed(4, 2)),
        (Fixed(8, 8), Fixed(32, 0)),
        (Fixed(16, 12), Fixed(16, 12)),
        (Fixed(16, 12), Fixed(8, 7)),
        (Fixed(18, 16), Fixed(32, 31)),
        (Fixed(24, 20), Fixed(24, 12)),
        (Fixed(32, 0), Fixed(32, 32)),
        (Fixed(32, 16), Fixed(32, 16)),
        (Fixed(32, 32), Fixed(2, 0)),
        (Fixed(32, 32), Fixed(32, 0)),
    ]
    floats = [
        (weight, gradient)
        for gradient in (bfloat16, float32)
        for weight in (_DEFAULT.weight, Fixed(4, 2), Fixed(8, 6), Fixed(32, 0), Fixed(32, 32))
    ]
    for weight, gradient in shapes + floats:
        config = UnitConfig(weight=weight, gradient=gradient)
        default = weight == _DEFAULT.weight
        for stages in (1, 2, 3):
            quick = default and (stages == 1 or gradient == float32)
            name = f"align/{gradient} to {weight}, {stages} clocks".replace("1 clocks", "1 clock")
            yield _complete(name, says, partial(arithmetic.align, config, stages), quick=quick)


def _lane() -> Iterator[Proof]:
    says = "W' = clamp(W - D 2^(F-q)), and flags, for every aligned step, W and q."
    quick = {(4, 2), (8, 6), (18, 16)}
    for width in range(2, 33):
        for fraction in sorted({0, width // 2, max(width - 2, 0), width}):
            config = UnitConfig(weight=Fixed(width, fraction))
            yield _complete(
                f"lane/{config.weight}",
                says,
                partial(arithmetic.lane, config),
                quick=(width, fraction) in quick,
            )
    for pipeline in _PIPELINES:
        if pipeline != _DEFAULT.pipeline:
            config = UnitConfig(pipeline=pipeline)
            name = f"lane/{config.weight}, pipeline {pipeline}"
            yield _complete(name, says, partial(arithmetic.lane, config))


def _subtraction() -> Iterator[Proof]:
    says = "Made of an ECP5's carry cells, as Yosys describes them, the subtraction is the same."
    for weight in (Fixed(2, 0), Fixed(2, 2), Fixed(3, 1), Fixed(16, 12), Fixed(18, 16)):
        yield _complete(
            f"subtraction/{weight}",
            says,
            partial(arithmetic.subtraction, UnitConfig(weight=weight)),
            quick=weight == _DEFAULT.weight,
        )


def _saturation() -> Iterator[Proof]:
    says = "Saturating an aligned step to B+2 bits changes neither W' nor a flag."
    for width in (2, 3, 4, 8, 16, 18, 24, 32):
        for fraction in sorted({0, width - 2, width}):
            config = UnitConfig(weight=Fixed(width, fraction))
            yield _complete(
                f"saturation/{config.weight}",
                says,
                partial(arithmetic.saturation, config),
                quick=config.weight in (Fixed(8, 6), _DEFAULT.weight),
            )


def _element() -> Iterator[Proof]:
    says = "The datapath takes W to clamp(W - floor(2^(q-k) g + 1/2) 2^(F-q)), with flags."
    shapes: list[tuple[Fixed, Format]] = [
        (Fixed(2, 1), Fixed(2, 1)),
        (Fixed(4, 3), Fixed(4, 2)),
        (Fixed(4, 0), Fixed(8, 6)),
        (Fixed(6, 4), Fixed(5, 4)),
        (Fixed(8, 8), Fixed(4, 0)),
        (Fixed(8, 6), Fixed(8, 6)),
        (Fixed(8, 4), Fixed(8, 2)),
        (Fixed(8, 6), bfloat16),
    ]
    for weight, gradient in shapes:
        for pipeline in _PIPELINES:
            lanes = 2 if isinstance(gradient, Fixed) else 1
            config = UnitConfig(lanes=lanes, weight=weight, gradient=gradient, pipeline=pipeline)
            yield _complete(
                f"element/{gradient} to {weight}, pipeline {pipeline}",
                says,
                partial(arithmetic.element, config),
                quick=weight == Fixed(4, 3) and gradient == Fixed(4, 2),
            )
    for gradient in (_DEFAULT.gradient, bfloat16, float32):
        config = UnitConfig(lanes=1, gradient=gradient)
        name = f"element/{config.gradient} to {config.weight}, pipeline {config.pipeline}"
        yield _complete(name, says, partial(arithmetic.element, config))


def _needed() -> Iterator[Proof]:
    says = "A step is not zero exactly from q_min upwards, for any q that q_min can be."
    shapes: list[tuple[int, Format]] = [
        (1, Fixed(2, 0)),
        (1, Fixed(4, 3)),
        (2, Fixed(8, 6)),
        (2, _DEFAULT.gradient),
        (1, Fixed(32, 16)),
        (1, Fixed(32, 32)),
        (1, bfloat16),
        (1, float32),
    ]
    for lanes, gradient in shapes:
        config = UnitConfig(lanes=lanes, gradient=gradient, depth=64)
        yield _complete(
            f"needed/{gradient}, {lanes} lanes".replace("1 lanes", "1 lane"),
            says,
            partial(arithmetic.needed, config),
            quick=gradient in (_DEFAULT.gradient, bfloat16),
        )
    says = "q_min of several lanes is the least of theirs."
    wide: list[tuple[int, Format]] = [
        (2, Fixed(4, 3)),
        (8, _DEFAULT.gradient),
        (32, _DEFAULT.gradient),
        (4, bfloat16),
        (4, float32),
    ]
    for lanes, gradient in wide:
        config = UnitConfig(lanes=lanes, gradient=gradient, depth=64)
        yield _complete(
            f"least/{gradient}, {lanes} lanes",
            says,
            partial(arithmetic.least, config),
            quick=(lanes, gradient) == (8, _DEFAULT.gradient),
        )


_CONTROL: tuple[tuple[str, str, Callable[[UnitConfig], Claims]], ...] = (
    (
        "beats",
        "Each command becomes its beats, in order, with its gradients; a refused one touches "
        "no lane.",
        control.beats,
    ),
    ("memory", "Each beat and access reads what was written before it.", control.memory),
    ("reports", "Each command has one report, in order, with exact counts.", control.reports),
    (
        "room",
        "A command starts only where a clock before there was room for its report.",
        control.room,
    ),
    ("progress", "What is due is not long in coming once nothing holds it up.", control.progress),
    ("counters", "Registers count clocks, beats, stalls and waits exactly.", counters.counters),
    ("rows", "A streamed unit gives back each row that it takes, in order.", control.rows),
)


def _counting() -> Iterator[Proof]:
    yield Proof(
        "counting/4 counters of 4 bits",
        "Counters are exact, but for events of the last clocks, also when they wrap around.",
        partial(counters.counting, 4, 4),
        "bounded",
        quick=True,
    )


def _queue() -> Iterator[Proof]:
    yield Proof(
        "queue/28 places",
        "No report is lost if commands start within the margin of their queue.",
        partial(control.queue, _SMALL),
        "bounded",
    )


def _variant(**changes: object) -> UnitConfig:
    return UnitConfig(**{**vars(_SMALL), **changes})


def _control() -> Iterator[Proof]:
    units = {f"pipeline {p}": _variant(pipeline=p) for p in _PIPELINES}
    units["streamed"] = _variant(memory="streamed")
    units["streamed, pipeline 8"] = _variant(memory="streamed", pipeline=8)
    units["updates"] = _variant(updates=True)
    units["bfloat16"] = _variant(gradient=bfloat16)
    quick = {("streamed", "rows")} | {
        (f"pipeline {_DEFAULT.pipeline}", name)
        for name in ("beats", "memory", "reports", "room", "progress", "counters")
    }
    for unit, config in units.items():
        streamed = config.memory == "streamed"
        outputs = ["o_report", "o_weights"] + ["o_updates"] * config.updates
        for output in outputs:
            # The memory holds the row that is offered to the host while no beat reads it, and
            # that depends on how the unit came there.
            complete = streamed or output != "o_weights"
            yield Proof(
                f"streams/{output}, {unit}",
                "What a stream offers stays until it is taken.",
                partial(control.stream, config, output, complete=complete),
                "any state" if complete else "bounded",
                quick=unit in (f"pipeline {_DEFAULT.pipeline}", "updates"),
            )
        if not streamed:
            yield Proof(
                f"order/{unit}",
                "No beat asks for a weight in flight, and each beat is written once.",
                partial(control.order, config),
                "bounded",
                quick=unit in (f"pipeline {_DEFAULT.pipeline}", "pipeline 8"),
            )
        for name, says, claims in _CONTROL:
            if name != ("memory" if streamed else "rows"):
                yield Proof(
                    f"{name}/{unit}",
                    says,
                    partial(claims, config),
                    "bounded",
                    quick=(unit, name) in quick,
                )
