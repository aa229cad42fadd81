"""How often the quantized equation finds global minima, at equal cost.

Standard non-convex functions, an instance for each seed; the quantized equation, plain gradient
descent, added noise on the same schedule, Langevin dynamics, and two methods of SciPy that are made
for this. Every method chooses among five settings on instances of their own, and is judged on
others. A gradient costs what its differences cost, or as much as a value.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upshift.experiments import grid, statistics
from upshift.experiments.experiment import Cell, Experiment, Settings, Summary
from upshift.experiments.functions import NUMBERS, Counting, Problem
from upshift.experiments.methods import METHODS, Setting, search
from upshift.experiments.table import Column, Row

COUNTINGS: tuple[Counting, ...] = ("d + 1", "1")
QUANTIZED = ("Band", "Band, no vanish")
NEAR, SOLVED = 1.0, 0.01
FUNCTIONS = (
    "Rastrigin",
    "Weierstrass",
    "Schaffer",
    "Griewank-Rosenbrock",
    "Schwefel",
    "Gallagher 101",
    "Gallagher 21",
    "Lunacek",
)

COLUMNS = (
    Column(
        "part",
        str,
        "the choice of a setting, the test of the chosen one, or the quantized objective",
        ("tuning", "test", "objective"),
    ),
    Column("function", str, "of the BBOB suite", (*NUMBERS,)),
    Column("dimension", int, "d", low=2, high=10),
    Column("counting", str, "what a gradient costs, in evaluations", COUNTINGS, optional=True),
    Column("method", str, "what looks for the minimum", (*METHODS, "Constant")),
    Column("setting", int, "number of the method's setting, from 0", low=0, optional=True),
    Column("rate", int, "k of the learning rate 2^-k, where there is one", optional=True),
    Column("q", int, "constant resolution (objective)", low=0, high=64, optional=True),
    Column("seed", int, "of instance, first point and noise", low=0),
    Column("budget", int, "evaluations, or gradients (objective)", low=1),
    Column(
        "gap",
        float,
        "least distance from the minimum, in units of the suite; or the last one from the minimum "
        "of the quantized objective, in deviations of the function (objective)",
        low=-1e-9,
    ),
    Column("near", int, f"evaluations until the gap was {NEAR:g}", low=1, optional=True),
    Column("solved", int, f"evaluations until the gap was {SOLVED:g}", low=1, optional=True),
    Column("still", bool, "whether the last step was zero (objective)", optional=True),
)


@dataclass(frozen=True)
class Search(Settings):
    """What decides the cells.

    Attributes
    ----------
    functions, dimensions
        Each function in each dimension is a problem.
    budget : int
        Evaluations per dimension.
    tuning : tuple of int
        Seeds for the choice of settings, none of which may be among `seeds`.
    settings : int
        How many of its settings each method may try.
    resolutions, rates
        Of the quantized objective.
    """

    functions: tuple[str, ...]
    dimensions: tuple[int, ...]
    budget: int
    tuning: tuple[int, ...]
    settings: int
    resolutions: tuple[int, ...]
    rates: tuple[int, ...]


def plan(settings: Search, rows: Sequence[Row]) -> list[Cell]:
    """Return the tuning, then the test with the settings that it chose."""
    both = sorted(set(settings.seeds) & set(settings.tuning))
    if both:
        raise ValueError(f"seeds {both} are for the choice of settings: other seeds allowed")
    problems = [
        {"function": function, "dimension": d, "counting": counting, "budget": settings.budget * d}
        for function in settings.functions
        for d in settings.dimensions
        for counting in COUNTINGS
    ]
    cells: list[Cell] = [
        {"part": "objective", "function": function, "q": q, "rates": list(settings.rates),
         "seed": seed}
        for function in grid.FUNCTIONS
        for q in settings.resolutions
        for seed in settings.seeds
    ]  # fmt: skip
    cells += [
        {"part": "tuning", **problem, "method": method, "setting": number, "seed": seed}
        for problem in problems
        for method in METHODS
        for number in range(settings.settings)
        for seed in settings.tuning
    ]
    chosen = choose([row for row in rows if row["part"] == "tuning"])
    cells += [
        {"part": "test", **problem, "method": method, "setting": chosen[which], "seed": seed}
        for problem in problems
        for method in METHODS
        if (which := _which(problem, method)) in chosen
        for seed in settings.seeds
    ]
    return cells


Which = tuple[str, int, str, str]


def _which(row: Row | Cell, method: str) -> Which:
    return row["function"], row["dimension"], row["counting"], method


def choose(rows: Sequence[Row]) -> dict[Which, int]:
    """Return the setting of each method for each problem: most often near, then the least gap."""
    tried: dict[Which, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        tried[_which(row, row["method"])][row["setting"]].append(row)

    def merit(found: list[Row]) -> tuple[int, float]:
        near = sum(row["near"] is not None for row in found)
        return near, -sum(math.log(max(row["gap"], 1e-12)) for row in found)

    return {
        which: max(by_setting, key=lambda number: merit(by_setting[number]))
        for which, by_setting in tried.items()
    }


def measure(cell: Cell) -> list[Row]:
    """Look for the minimum of one instance, or follow the equation on one grid."""
    if cell["part"] == "objective":
        return _objective(cell)
    problem = Problem(
        cell["function"], cell["dimension"], cell["seed"], cell["budget"], cell["counting"],
        (NEAR, SOLVED),
    )  # fmt: skip
    setting: Setting = METHODS[cell["method"]][1][cell["setting"]]
    search(problem, cell["method"], setting)
    near, solved = problem.hits
    rate = setting.get("rate")
    return [
        {
            "rate": None if rate is None else int(rate),
            "q": None,
            "gap": problem.best,
            "near": near,
            "solved": solved,
            "still": None,
        }
    ]


def _objective(cell: Cell) -> list[Row]:
    rows: list[Row] = []
    for rate in cell["rates"]:
        problem = Problem(cell["function"], 2, cell["seed"], grid.STEPS, "1")
        point, still = grid.descend(problem, cell["q"], rate)
        last = float(grid.quantized_objective(problem, point[None], cell["q"])[0])
        rows.append({"rate": rate, "gap": last, "still": still})
    least = grid.lowest(problem, cell["q"])
    common = {"dimension": 2, "counting": None, "method": "Constant", "setting": None}
    common |= {"budget": grid.STEPS, "near": None, "solved": None}
    return [common | row | {"gap": row["gap"] - least} for row in rows]


# -- what the rows say ----------------------------------------------------------------------------


def summarize(rows: Sequence[Row]) -> Summary:
    """Return success rates, comparisons, and where the quantized objective was reached."""
    tests = [row for row in rows if row["part"] == "test"]
    runs: dict[Which, dict[int, Row]] = defaultdict(dict)
    for row in tests:
        runs[_which(row, row["method"])][row["seed"]] = row
    return {
        "problems": [_problem(which, [*found.values()]) for which, found in runs.items()],
        "methods": [
            _pooled(tests, counting, method) for counting in COUNTINGS for method in METHODS
        ],
        "comparisons": [
            comparison for counting in COUNTINGS for comparison in _compare(runs, counting)
        ],
        "objective": _reached([row for row in rows if row["part"] == "objective"]),
    }


def _successes(rows: Sequence[Row], target: str) -> list[float]:
    return [*statistics.share(sum(row[target] is not None for row in rows), len(rows))]


def _problem(which: Which, rows: list[Row]) -> Summary:
    names = dict(zip(("function", "dimension", "counting", "method"), which, strict=True))
    return names | {
        "setting": rows[0]["setting"],
        "near": _successes(rows, "near"),
        "solved": _successes(rows, "solved"),
    }


def _pooled(tests: list[Row], counting: str, method: str) -> Summary:
    rows = [row for row in tests if (row["counting"], row["method"]) == (counting, method)]
    dimensions = sorted({row["dimension"] for row in rows})
    return {
        "counting": counting,
        "method": method,
        "near": _successes(rows, "near"),
        "solved": _successes(rows, "solved"),
        "near_by_dimension": {
            str(d): _successes([row for row in rows if row["dimension"] == d], "near")
            for d in dimensions
        },
    }


def _compare(runs: dict[Which, dict[int, Row]], counting: str) -> Iterator[Summary]:
    """Compare the quantized methods with the others on the same instances, adjusted by Holm."""

    def near(method: str) -> list[bool]:
        return [
            row["near"] is not None
            for which, found in runs.items()
            if which[2:] == (counting, method)
            for _, row in sorted(found.items())
        ]

    pairs = [(mine, other) for mine in QUANTIZED for other in METHODS if other not in QUANTIZED]
    p = [statistics.discordant(near(mine), near(other)) for mine, other in pairs]
    for (mine, other), adjusted in zip(pairs, statistics.holm(p), strict=True):
        a, b = near(mine), near(other)
        yield {
            "counting": counting,
            "method": mine,
            "other": other,
            "instances": len(a),
            "difference": (sum(a) - sum(b)) / len(a),
            "p": adjusted,
        }


def _reached(rows: list[Row]) -> list[Summary]:
    found: dict[tuple[str, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        found[row["function"], row["rate"], row["q"]].append(row)
    return [
        {
            "function": function,
            "rate": rate,
            "q": q,
            "reached": [*statistics.share(sum(row["gap"] <= 0 for row in some), len(some))],
            "still": sum(row["still"] for row in some) / len(some),
        }
        for (function, rate, q), some in sorted(found.items())
    ]


def expect(summary: Summary) -> list[str]:
    """Return what is not as it is known to be."""
    wrong = []
    near = {(each["counting"], each["method"]): each["near"][0] for each in summary["methods"]}
    for counting in COUNTINGS:
        if near[counting, "gradient descent"] > near[counting, "dual annealing"]:
            wrong.append(f"gradient descent beats dual annealing (a gradient costs {counting})")
    sphere = [each for each in summary["objective"] if each["function"] == "Sphere"]
    finest = max(each["q"] for each in sphere)
    rates = sorted({each["rate"] for each in sphere})
    reached = {each["rate"]: each["reached"][0] for each in sphere if each["q"] == finest}
    fast, slow = max(reached[rate] for rate in rates[:-1]), reached[rates[-1]]
    if not fast > slow:
        wrong.append("on a sphere, small learning rates reach the quantized optimum as often")
    return wrong


# -- the report -----------------------------------------------------------------------------------


def report(summary: Summary) -> str:
    """Return the tables and the verdict."""
    dimensions = [*summary["methods"][0]["near_by_dimension"]]
    lines = [
        f"Instances in which a point within {NEAR:g} of the minimum was seen, %, with 95 % "
        "intervals:",
        "",
        "| a gradient costs | method | "
        + " | ".join(f"d = {d}" for d in dimensions)
        + f" | all | within {SOLVED:g} |",
        f"|---|---|{'---:|' * (len(dimensions) + 2)}",
    ]
    for each in summary["methods"]:
        cells = [
            *(_share(found) for found in each["near_by_dimension"].values()),
            _share(each["near"]),
            _share(each["solved"]),
        ]
        lines.append(f"| {each['counting']} | {each['method']} | {' | '.join(cells)} |")
    lines += ["", *_by_problem(summary), "", *_comparisons(summary), "", *_objectives(summary)]
    return "\n".join(lines) + "\n"


def _share(found: list[float]) -> str:
    share, low, high = (100 * number for number in found)
    return f"{share:.0f} ({low:.0f} to {high:.0f})"


def _by_problem(summary: Summary) -> Iterator[str]:
    yield f"The same by problem, where a gradient costs {COUNTINGS[0]}:"
    yield ""
    yield f"| function | d | {' | '.join(METHODS)} |"
    yield f"|---|---:|{'---:|' * len(METHODS)}"
    table: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for each in summary["problems"]:
        if each["counting"] == COUNTINGS[0]:
            table[each["function"], each["dimension"]][each["method"]] = each["near"][0]
    for (function, d), shares in table.items():
        cells = " | ".join(f"{100 * shares[method]:.0f}" for method in METHODS)
        yield f"| {function} | {d} | {cells} |"


def _comparisons(summary: Summary) -> Iterator[str]:
    yield "The quantized equation against the others on the same instances (McNemar, Holm):"
    yield ""
    yield "| a gradient costs | method | against | difference, points | p | |"
    yield "|---|---|---|---:|---:|---|"
    for each in summary["comparisons"]:
        word = "no difference shown"
        if each["p"] < statistics.LEVEL:
            word = "better" if each["difference"] > 0 else "worse"
        yield (
            f"| {each['counting']} | {each['method']} | {each['other']} "
            f"| {100 * each['difference']:+.1f} | {each['p']:.2g} | {word} |"
        )


def _objectives(summary: Summary) -> Iterator[str]:
    found: dict[tuple[str, int], dict[int, Any]] = defaultdict(dict)
    for each in summary["objective"]:
        found[each["function"], each["rate"]][each["q"]] = each
    resolutions = sorted({q for row in found.values() for q in row})
    yield "Runs at constant q that end at an optimum of the quantized objective, %, d = 2:"
    yield ""
    yield f"| function | learning rate | {' | '.join(f'q = {q}' for q in resolutions)} |"
    yield f"|---|---|{'---:|' * len(resolutions)}"
    for (function, rate), row in found.items():
        cells = " | ".join(f"{100 * row[q]['reached'][0]:.0f}" for q in resolutions)
        yield f"| {function} | 2^-{rate} | {cells} |"
    most = max(each["reached"][0] for each in summary["objective"] if each["q"] == resolutions[-1])
    always = sorted(
        {name for (name, _), row in found.items() if row[resolutions[-1]]["reached"][0] == 1}
    )
    yield ""
    yield (
        f"At the finest grid, q = {resolutions[-1]}, every run ends at an optimum on "
        f"{', '.join(always)}."
        if always
        else f"At the finest grid, q = {resolutions[-1]}, on no function do all runs end at an "
        f"optimum; the most is {100 * most:.0f} %."
    )


def plots(rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """Return performance profiles, and where the quantized objective is reached."""
    from upshift.experiments.plots import drawing

    with drawing(1, 2, height=3.4, sharey=True) as drawn:
        for axes, counting in zip(drawn.axes[0], COUNTINGS, strict=True):
            for number, method in enumerate(METHODS):
                ratios, shares = profile(rows, counting)[method]
                axes.step(
                    ratios,
                    shares,
                    where="post",
                    label=method,
                    linestyle="-" if method in QUANTIZED else ("--", ":", "-.")[number % 3],
                )
            axes.set(
                xscale="log",
                ylim=(0, 1),
                title=f"a gradient costs {counting}",
                xlabel="evaluations, times those of the fastest",
            )
        drawn.axes[0, 0].set_ylabel(f"share of the instances within {NEAR:g}")
        drawn.axes[0, 0].legend(loc="upper left", fontsize=7)
    return {"profile.svg": drawn.svg}


def profile(rows: Sequence[Row], counting: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return performance profiles (Dolan and More): shares reached, by the ratio to the fastest.

    Instances are those of the test; one that no method gets near counts against all.
    """
    times: dict[tuple[Any, ...], dict[str, int]] = defaultdict(dict)
    for row in rows:
        if row["part"] == "test" and row["counting"] == counting:
            instance = times[row["function"], row["dimension"], row["seed"]]
            if row["near"] is not None:
                instance[row["method"]] = row["near"]
    found = {}
    for method in METHODS:
        ratios = sorted(
            each[method] / min(each.values()) for each in times.values() if method in each
        )
        shares = [(number + 1) / len(times) for number in range(len(ratios))]
        found[method] = ([1.0, *ratios], [0.0, *shares])
    return found


EXPERIMENT = Experiment(
    name="global",
    columns=COLUMNS,
    quick=Search(
        seeds=(0, 1, 2),
        functions=("Schwefel", "Gallagher 101"),
        dimensions=(2,),
        budget=150,
        tuning=(1000, 1001),
        settings=2,
        resolutions=(2, 5),
        rates=(2, 7),
    ),
    full=Search(
        seeds=tuple(range(100)),
        functions=FUNCTIONS,
        dimensions=(2, 5, 10),
        budget=500,
        tuning=tuple(range(1000, 1005)),
        settings=5,
        resolutions=tuple(range(2, 9)),
        rates=(1, 2, 4, 6, 8),
    ),
    plan=plan,
    measure=measure,
    summarize=summarize,
    report=report,
    plots=plots,
    expect=expect,
    packages=("ioh", "scipy"),
)
