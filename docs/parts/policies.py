"""What each resolution policy does while the digits network trains: q, its reasons, zero steps.

Every policy gets the same network, the same images in the same order and the same learning rate.
One run each: the plots show how policies work, not which trains best.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from torch import nn

from upshift import digits
from upshift.holders import OPTIMIZERS
from upshift.report import UpdateReport
from upshift.resolution import Authors, Band, Constant, LogLog, Policy
from upshift.training import BATCH

SEED = 0
EPOCHS = 30
_BLUE, _RED, _GREY, _COLOURS = "#1f5fa8", "#c2410c", "#64748b", ("#1f5fa8", "#b4690e", "#7a3e9d")

POLICIES: dict[str, Callable[[], Policy]] = {
    "Constant(8)": lambda: Constant(8),
    "Band()": Band,
    "Band(vanish=False)": lambda: Band(vanish=False),
    "Band(per_tensor=True)": lambda: Band(per_tensor=True),
    "LogLog(tau_0=6)": lambda: LogLog(tau_0=6),
    'LogLog("code", tau_0=6)': lambda: LogLog("code", tau_0=6),
    "Authors()": Authors,
    "Band(limit=33)": lambda: Band(limit=33),
}


@dataclass
class Course:
    """What happened in each mini-batch of a run.

    Attributes
    ----------
    policy : Policy
        As it was at the end.
    epochs : list of float
        Time after the mini-batch.
    q : list of float
        log2 of Q_p.
    tensors : list of list of int
        q of each tensor, where the policy has one for each.
    zero : list of float
        Share of the steps of the mini-batch that were zero.
    schedule, vanish : list of tuple
        Time and q of each raise, by cause; for the vanish rule the tensor as well.
    """

    policy: Policy
    epochs: list[float] = field(default_factory=list)
    q: list[float] = field(default_factory=list)
    tensors: list[list[int]] = field(default_factory=list)
    zero: list[float] = field(default_factory=list)
    schedule: list[tuple[float, float]] = field(default_factory=list)
    vanish: list[tuple[float, float, int]] = field(default_factory=list)


def measure() -> dict[str, Course]:
    """Train once with every policy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {name: _train(make()) for name, make in POLICIES.items()}
    finally:
        torch.set_num_threads(before)


def _train(policy: Policy) -> Course:
    data, network = digits.load(SEED), digits.network(SEED)
    parameters = list(network.parameters())
    kind, lr = OPTIMIZERS["sgd"]
    optimizer = kind(parameters, lr, resolution=policy)
    course = Course(policy)
    order = torch.Generator().manual_seed(SEED)
    for epoch in range(EPOCHS):
        if epoch:
            before = policy.raises["schedule"]
            policy.step()
            if policy.raises["schedule"] > before:
                course.schedule.append((epoch, math.log2(policy.Q_p)))
        batches = torch.split(torch.randperm(len(data.train_images), generator=order), BATCH)
        for number, batch in enumerate(batches, 1):
            optimizer.zero_grad()
            outputs = network(data.train_images[batch])
            nn.functional.cross_entropy(outputs, data.train_labels[batch]).backward()
            before = dict(policy.raises["vanish"])
            optimizer.step()
            reports = [optimizer.reports[p] for p in parameters]
            _note(course, epoch + number / len(batches), reports, before)
    return course


def _note(course: Course, time: float, reports: list[UpdateReport], before: dict[int, int]) -> None:
    policy = course.policy
    own = getattr(policy, "tensor_q", {})
    course.epochs.append(time)
    course.q.append(math.log2(policy.Q_p))
    course.tensors.append([max(policy.q, own.get(tensor, 0)) for tensor in range(len(reports))])
    elements = sum(report.elements for report in reports)
    course.zero.append(1 - sum(report.nonzero for report in reports) / elements)
    for tensor, count in policy.raises["vanish"].items():
        if count > before.get(tensor, 0):
            course.vanish.append((time, course.tensors[-1][tensor], tensor))


# -- the table ------------------------------------------------------------------------------------


def to_markdown(courses: dict[str, Course]) -> str:
    """Return what each policy came to."""
    names = [
        f"`{index}.{name}`"
        for index, layer in enumerate(digits.network(SEED))
        for name, _ in layer.named_parameters()
    ]
    lines = [
        "| policy | log2 Q_p after one mini-batch | after one epoch | at the end "
        "| raised by the schedule | by the vanish rule | zero steps, last epoch |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    for name, course in courses.items():
        raises = course.policy.raises
        causes = ", ".join(f"{names[tensor]} {n}" for tensor, n in sorted(raises["vanish"].items()))
        per_epoch = len(course.q) // EPOCHS
        shown = [course.q[at] for at in (0, per_epoch - 1, -1)]
        zero = sum(course.zero[-per_epoch:]) / per_epoch
        lines.append(
            f"| `{name}` | {' | '.join(f'{q:g}' for q in shown)} | {raises['schedule']} "
            f"| {causes or 0} | {zero:.0%} |"
        )
    return "\n".join(lines) + "\n"


# -- plots ----------------------------------------------------------------------------------------


def plots(courses: dict[str, Course]) -> dict[str, str]:
    """Return the plots of the policies as SVG, by file name."""
    band = ("Band()", "Band(vanish=False)")
    log = ("LogLog(tau_0=6)", 'LogLog("code", tau_0=6)')
    sums = ("Authors()", "Band(limit=33)")
    chosen = {
        "policy-constant.svg": (["Constant(8)"], _resolution, _zero),
        "policy-band.svg": (band, _resolution, _zero),
        "policy-band-per-tensor.svg": (["Band(per_tensor=True)"], _each_tensor, _zero),
        "policy-loglog.svg": (log, _resolution, _push),
        "policy-authors.svg": (sums, _first_steps, _zero),
    }
    return {
        file: _figure({name: courses[name] for name in names}, upper, lower)
        for file, (names, upper, lower) in chosen.items()
    }


Panel = Callable[[Axes, Course], None]


def _figure(courses: dict[str, Course], upper: Panel, lower: Panel) -> str:
    mpl.use("svg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "upshift", "font.size": 9}):
        figure, axes = plt.subplots(
            2,
            len(courses),
            figsize=(8.4, 4.2),
            sharex="col",
            sharey="row",
            height_ratios=(3, 1),
            squeeze=False,
            layout="constrained",
        )
        for column, (name, course) in enumerate(courses.items()):
            for row, panel in enumerate((upper, lower)):
                axes[row, column].grid(alpha=0.25)
                panel(axes[row, column], course)
            axes[0, column].set_title(name, family="monospace", fontsize=9)
            axes[0, column].legend(loc="best", frameon=False, fontsize=8)
            axes[1, column].set_xlabel("epoch")
        axes[0, 0].set_ylim(bottom=0)
        figure.patch.set_facecolor("#fbfcfe")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        plt.close(figure)
    return stream.getvalue()


def _resolution(axes: Axes, course: Course) -> None:
    policy = course.policy
    if isinstance(policy, Band):
        edges = [(policy.infimum(t), policy.supremum(t)) for t in range(EPOCHS)]
        low, high = zip(*edges, strict=True)
        axes.fill_between(
            range(EPOCHS), low, high, color=_GREY, alpha=0.2, linewidth=0, label="band"
        )
    axes.step(course.epochs, course.q, where="pre", color=_BLUE, label="log2 Q_p")
    _causes(axes, course)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("log2 Q_p, which is q where eta = 1")


def _causes(axes: Axes, course: Course) -> None:
    for name, colour, marker, raised in (
        ("raised by the schedule", _GREY, "^", course.schedule),
        ("raised by the vanish rule", _RED, "v", [event[:2] for event in course.vanish]),
    ):
        if raised:
            times, values = zip(*raised, strict=True)
            axes.scatter(times, values, color=colour, marker=marker, s=24, label=name, zorder=3)


def _each_tensor(axes: Axes, course: Course) -> None:
    marks = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 3)))
    for tensor, values in enumerate(zip(*course.tensors, strict=True)):
        colour = _COLOURS[tensor // 2]
        name = f"tensor {tensor}"
        axes.step(course.epochs, values, color=colour, linestyle=marks[tensor], label=name)
    _causes(axes, course)
    axes.set_ylabel("q of each tensor")


def _first_steps(axes: Axes, course: Course) -> None:
    _resolution(axes, course)
    axes.axhline(33, color=_GREY, linestyle=":", linewidth=1)
    axes.set_xlim(0, 5)


def _zero(axes: Axes, course: Course) -> None:
    axes.plot(course.epochs, [100 * share for share in course.zero], color=_BLUE, linewidth=0.8)
    axes.set_ylim(0, 100)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("zero steps, %")


def _push(axes: Axes, course: Course) -> None:
    policy = course.policy
    assert isinstance(policy, LogLog)
    axes.step(range(EPOCHS), [policy.push(t) for t in range(EPOCHS)], where="post", color=_RED)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("push")
