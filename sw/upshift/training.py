"""Training that proves itself: the same run held by torch, the integer model and a device.

The device's network computes the gradients, so what is learned is what the device holds; the
others are given those gradients. After every step all weights of all holders are compared, and so
are the counters of every burst: one by one if the device is near; by a checksum if it is distant,
and one by one after every epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import upshift.checkpoint
import upshift.device
from upshift import digits, holders
from upshift.config import UnitConfig
from upshift.device import Device
from upshift.formats import Format
from upshift.holders import Holder, MismatchError
from upshift.optim import Band

__all__ = ["BATCH", "Epoch", "MismatchError", "Run", "configuration", "train"]

BATCH = 64
_TASK = "upshift train"


@dataclass(frozen=True)
class Epoch:
    """What one epoch did. `infimum` and `supremum` are the band that q should lie in.

    `vanish_raises` and `schedule_raises` count the units that q rose during the epoch, the
    schedule's at its beginning.
    """

    epoch: int
    loss: float
    accuracy: float
    q: int
    infimum: float
    supremum: float
    schedule_raises: int
    vanish_raises: int
    zero_share: float
    saturated: int
    updates: int
    update_seconds: float

    @property
    def updates_per_second(self) -> float:
        """Updates per second of the device's own optimizer step.

        Reading back is included. The clock of a distant device, which works while other things
        go on, runs from the beginning of backward to the checksum after the step.
        """
        return self.updates / self.update_seconds


@dataclass
class Run:
    """A training run and its outcome; `epochs` fills up while `train` is iterated.

    `comparisons` counts the weights that were compared one by one, `checksums` how often all
    weights were compared by a checksum.
    """

    config: UnitConfig
    device: str
    seed: int
    optimizer: str
    parameters: int
    epochs: list[Epoch] = field(default_factory=list)
    steps: int = 0
    comparisons: int = 0
    checksums: int = 0
    digests: dict[str, str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Accuracy on the test images after the last epoch."""
        return self.epochs[-1].accuracy

    @property
    def updates(self) -> int:
        """Weight updates that the device computed."""
        return sum(epoch.updates for epoch in self.epochs)


def configuration(
    parameters: int, lanes: int = 8, gradient: Format = UnitConfig.gradient
) -> UnitConfig:
    """Return a default unit just deep enough for a number of parameters."""
    return UnitConfig(lanes=lanes, gradient=gradient, depth=-(-parameters // lanes) * lanes)


def train(
    url: str,
    *,
    epochs: int,
    seed: int,
    optimizer: str = "sgd",
    gradient: Format | None = None,
    opened: Callable[[Device], None] = lambda device: None,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Iterator[Run]:
    """Train the digits network through a device, comparing all holders after every step.

    Parameters
    ----------
    url : str
        Device that holds the weights, such as ``"rtl:"``. A device made to order becomes just
        deep enough; a board has to be.
    epochs : int
        Epochs in all, those before a resumption included.
    seed : int
        Decides the split, the start and the order of the images.
    optimizer : {"sgd", "adam"}
    gradient : Format, optional
        Format of the gradients that the device takes; a board has its own.
    opened : callable, optional
        Called with the device once it is open.
    checkpoint : Path, optional
        File to save the run in after every epoch; it must not exist yet.
    resume : bool
        Continue the run in `checkpoint` instead, with the same bits as if it had not ended.

    Yields
    ------
    Run
        The same object after every epoch, and at once if it is resumed; digests are there after
        the last.

    Raises
    ------
    MismatchError
        At the first step after which two holders differ.
    ValueError
        If there is no such optimizer, or the device takes other gradients, or the checkpoint
        exists, or is not of this run and this unit.
    """
    if optimizer not in holders.OPTIMIZERS:
        allowed = " or ".join(holders.OPTIMIZERS)
        raise ValueError(f"optimizer {optimizer!r} is not allowed: {allowed}")
    past = None if checkpoint is None else _past(checkpoint, resume, seed, optimizer, epochs)
    data = digits.load(seed)
    start = digits.network(seed)
    parameters = sum(p.numel() for p in start.parameters())
    with ExitStack() as stack:
        # On a network this small threads cost more than they bring, and the order of sums would
        # depend on the machine.
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        default = configuration(parameters, gradient=gradient or UnitConfig.gradient)
        device = stack.enter_context(upshift.device.open(url, default=default))
        config = device.config
        if gradient not in (None, config.gradient):
            raise ValueError(
                f"gradient {gradient} is not allowed: {url} takes gradients of {config.gradient}"
            )
        opened(device)
        named: list[tuple[str, Device | None]] = [(url, device), ("torch", None)]
        if url != "model:":
            named.append(("model:", stack.enter_context(upshift.device.open("model:", config))))
        parties = [Holder.of(name, start, held_by, config, optimizer) for name, held_by in named]
        run = Run(config, url, seed, optimizer, parameters)
        order = torch.Generator().manual_seed(seed)
        if checkpoint is not None and past is not None:
            for holder in parties:
                upshift.checkpoint.load(checkpoint, holder.network, holder.optimizer)
            _restore(run, order, past)
            yield run
        while len(run.epochs) < epochs:
            _train_epoch(run, parties, data, order)
            if checkpoint is not None:
                network, learner = parties[0].network, parties[0].optimizer
                upshift.checkpoint.save(checkpoint, network, learner, _state(run, order))
            if len(run.epochs) == epochs:
                run.digests = {holder.name: holder.digest() for holder in parties}
            yield run


def _past(
    file: Path, resume: bool, seed: int, optimizer: str, epochs: int
) -> dict[str, Any] | None:
    """Return what a run left in its checkpoint, or None if a new one begins."""
    if not resume:
        if file.exists():
            raise ValueError(f"{file} exists: resume the run in it, or remove it")
        return None
    past = upshift.checkpoint.read(file).extra
    if not isinstance(past, dict) or past.get("task") != _TASK:
        raise ValueError(f"{file} is not the checkpoint of such a run")
    if past["seed"] != seed:
        raise ValueError(f"{file} is of a run with seed {past['seed']}, not {seed}")
    learned = past.get("optimizer", "sgd")  # what wrote older files knew no other
    if learned != optimizer:
        raise ValueError(f"{file} is of a run with optimizer {learned}, not {optimizer}")
    done = len(past["epochs"])
    if done >= epochs:
        raise ValueError(f"{file} has {done} epochs already: {epochs} in all leave none to train")
    return past


def _state(run: Run, order: torch.Generator) -> dict[str, Any]:
    """Return what a checkpoint has to keep beside network and optimizer."""
    return {
        "task": _TASK,
        "seed": run.seed,
        "optimizer": run.optimizer,
        "steps": run.steps,
        "comparisons": run.comparisons,
        "checksums": run.checksums,
        "epochs": [asdict(epoch) for epoch in run.epochs],
        "order": order.get_state().numpy(),
    }


def _restore(run: Run, order: torch.Generator, past: dict[str, Any]) -> None:
    run.steps, run.comparisons, run.checksums = (
        past[name] for name in ("steps", "comparisons", "checksums")
    )
    run.epochs = [Epoch(**epoch) for epoch in past["epochs"]]
    order.set_state(torch.from_numpy(past["order"]))


def _train_epoch(
    run: Run, parties: list[Holder], data: digits.Digits, order: torch.Generator
) -> None:
    first = parties[0]
    policy = first.optimizer.resolution
    assert isinstance(policy, Band)
    if run.epochs:
        for holder in parties:
            holder.optimizer.resolution.step()
    vanish_before = sum(policy.raises["vanish"].values())
    schedule_before = sum(epoch.schedule_raises for epoch in run.epochs)
    losses, seconds, updates, zeros, saturated = [], 0.0, 0, 0, 0

    for batch in torch.split(torch.randperm(len(data.train_images), generator=order), BATCH):
        first.optimizer.zero_grad()
        outputs = first.network(data.train_images[batch])
        loss = nn.functional.cross_entropy(outputs, data.train_labels[batch])
        seconds += _step(run, parties, loss)
        losses.append(loss.item() * len(batch))
        for report in first.reports():
            updates += report.elements
            zeros += report.elements - report.nonzero
            saturated += report.saturated
    if _distant(first):
        run.comparisons += holders.compare(parties, run.steps)

    run.epochs.append(
        Epoch(
            epoch=policy.t,
            loss=sum(losses) / len(data.train_images),
            accuracy=_accuracy(first.network, data),
            q=policy.q,
            infimum=policy.infimum(policy.t),
            supremum=policy.supremum(policy.t),
            schedule_raises=policy.raises["schedule"] - schedule_before,
            vanish_raises=sum(policy.raises["vanish"].values()) - vanish_before,
            zero_share=zeros / updates,
            saturated=saturated,
            updates=updates,
            update_seconds=seconds,
        )
    )


def _step(run: Run, parties: list[Holder], loss: Tensor) -> float:
    """Take one step with all holders, compare them, and return the seconds of the first's."""
    first, others = parties[0], parties[1:]
    distant = _distant(first)
    clock = time.perf_counter()
    with first.optimizer.streaming() if distant else nullcontext():
        loss.backward()  # type: ignore[no-untyped-call]
    if not distant:
        clock = time.perf_counter()
    first.optimizer.step()
    seconds = time.perf_counter() - clock
    for holder in others:
        holder.take_gradients(first.network)
        holder.optimizer.step()
    run.steps += 1
    if not distant:
        run.comparisons += holders.compare(parties, run.steps)
        return seconds
    first.optimizer.collect()
    told = first.checksum()
    seconds = time.perf_counter() - clock
    holders.compare_checksums(told, parties, run.steps)
    run.checksums += len(others)
    return seconds


def _distant(holder: Holder) -> bool:
    return holder.device is not None and holder.device.distant


def _accuracy(network: nn.Module, data: digits.Digits) -> float:
    with torch.no_grad():
        right = network(data.test_images).argmax(1) == data.test_labels
    return float(right.double().mean())
