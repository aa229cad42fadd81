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

from upshift.experiments import grid, statistics
from upshift.experiments.experiment import Cell, Experiment, Settings, Summary
from upshift.experiments.functions import COUNTINGS, NEAR, NUMBERS, SOLVED, Problem
from upshift.experiments.methods import METHODS, QUANTIZED, Setting, search
from upshift.experiments.search_report import plots, report
from upshift.experiments.table import Column, Row

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
        cell["function"], cell["dimension"], cell["seed"], cell["budget"], cell["counting"]
    )
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
