"""What the pages of the experiments show, from the rows and results that were kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from upshift import experiments
from upshift.experiments import campaign, table
from upshift.experiments.experiment import Summary

RESULTS = Path(__file__).resolve().parents[1] / "results" / "experiments"


@cache  # the tests of the pages ask several times
def part(name: str, results: Path = RESULTS) -> str:
    """Return report, plots, and how it was made; the report is made anew from the rows."""
    experiment = experiments.find(name)
    directory = results / name
    rows, result = campaign.load(experiment, directory)
    summary = experiment.summarize(rows)
    images = [
        f"![{experiment.name}: {path.stem}](../results/experiments/{name}/{path.name})\n"
        for path in sorted(directory.glob("*.svg"))
    ]
    versions = ", ".join(f"{package} {number}" for package, number in result["versions"].items())
    form = (
        "" if result["form"] == "full" else " **This is the quick form: it shows how, not what.**"
    )
    made = (
        f"{len(rows):,} rows of {result['cells']:,} cells, {result['seconds']:,} s of one core. "
        f"Run on {result['date']} by `{result['command']}`: {versions}.{form}\n"
    )
    columns = table.describe(experiment.columns)
    files = (
        f"The rows are in [rows.csv](../results/experiments/{name}/rows.csv), with the columns\n\n"
        f"{columns}\nand the numbers above, unrounded and with the configuration, in "
        f"[result.json](../results/experiments/{name}/result.json).\n"
    )
    return "\n".join([experiment.report(summary), *images, made, files])


def summary(name: str, results: Path = RESULTS) -> tuple[Summary, bool]:
    """Return what the kept rows of an experiment come to, and whether they are the full ones."""
    experiment = experiments.find(name)
    rows, result = campaign.load(experiment, results / name)
    return experiment.summarize(rows), result["form"] == "full"


def origin(full: bool, name: str, folder: str = "experiments/") -> str:
    """Return where numbers come from; the folder is that of the experiments, from the page."""
    quick = "" if full else " Only its quick form was run: it shows how, not what."
    return f"From the rows of [{name}]({folder}{name}.md).{quick}"
