"""Functions, what looking at them costs, the methods, and what success means."""

import numpy as np
import pytest
import torch

from upshift import equation
from upshift.experiments import functions, grid, methods, search, search_report
from upshift.experiments.functions import Problem, SpentError
from upshift.resolution import Band, Constant


def problem(function="Rastrigin", dimension=3, seed=5, budget=1000, counting="d + 1"):
    return Problem(function, dimension, seed, budget, counting)


@pytest.mark.parametrize("function", functions.NUMBERS)
def test_every_function_has_its_minimum_inside(function):
    each = problem(function)
    inside = np.asarray(each._suite.optimum.x) / 5
    assert np.abs(inside).max() <= 1
    assert each.quiet(inside[None])[0] == pytest.approx(0, abs=1e-9)
    rng = np.random.default_rng(0)
    assert each.quiet(rng.uniform(-1, 1, (500, 3))).min() > 0


def test_instances_differ_and_are_repeated():
    a, b, again = problem(seed=1), problem(seed=2), problem(seed=1)
    x = np.full(3, 0.25)
    assert a.value(x) == again.value(x) != b.value(x)
    assert np.array_equal(a.start(), again.start())
    assert not np.array_equal(a.start(), b.start())


@pytest.mark.parametrize("x", [[0.3, -0.2, 0.9], [1.0, 1.0, -1.0]])
def test_gradients_are_right(x):
    each = problem("Sphere")
    minimum = np.asarray(each._suite.optimum.x) / 5
    wanted = 2 * 25 * (np.array(x) - minimum) / each.scale
    np.testing.assert_allclose(each.gradient(np.array(x)), wanted, atol=1e-4)


@pytest.mark.parametrize(("counting", "costs"), [("d + 1", (4, 3)), ("1", (1, 0))])
def test_gradients_cost_what_the_counting_says(counting, costs):
    each, x = problem(counting=counting), np.array([0.1, 0.2, 0.3])
    each.gradient(x)
    assert each.spent == costs[0]
    each.value(-x)
    each.gradient(-x)  # its value is known
    assert each.spent == costs[0] + 1 + costs[1]


def test_nothing_is_looked_at_beyond_the_budget():
    each = problem(budget=6)
    each.gradient(np.zeros(3))
    best = each.best
    with pytest.raises(SpentError):
        each.gradient(np.asarray(each._suite.optimum.x) / 5)
    assert (each.spent, each.best) == (4, best)


def test_hits_are_when_targets_were_first_reached():
    each = problem()
    minimum = np.asarray(each._suite.optimum.x) / 5
    each.value(np.zeros(3))
    assert each.hits == [None, None]
    each.value(minimum)
    each.value(minimum)
    assert each.hits == [2, 2]
    assert each.best == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("policy", [Constant(7), Band(vanish=False), Band()], ids=repr)
def test_steps_are_those_of_the_equation(rng, policy):
    for _ in range(50):
        step = rng.normal(0, 2.0 ** rng.integers(-12, 2), 4)
        found = methods.quantized_step(step, policy)
        wanted = equation.quantize(torch.from_numpy(step), policy.q).numpy()
        assert np.array_equal(found, wanted)


def test_ties_go_up():
    assert methods.quantized_step(np.array([-0.5, 0.5, 1.5]), Constant(0)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("counting", functions.COUNTINGS)
@pytest.mark.parametrize("method", methods.METHODS)
def test_methods_spend_their_budget_and_stay_inside(method, counting, monkeypatch):
    seen = []
    look = Problem._look
    monkeypatch.setattr(Problem, "_look", lambda self, x: seen.append(x.copy()) or look(self, x))
    each = problem("Gallagher 21", budget=240, counting=counting)
    methods.search(each, method, methods.METHODS[method][1][1])
    assert each.spent <= 240
    if method not in ("gradient descent", *methods.QUANTIZED):  # these may come to a rest
        assert each.spent >= 200
    assert np.array_equal(seen[0], each.start())
    # Differences at the edge of the domain may be rounded.
    assert np.abs(np.array(seen)).max() <= 1 + 1e-12


def test_every_method_may_try_the_same_number_of_settings():
    assert {len(settings) for _, settings in methods.METHODS.values()} == {5}
    assert search.EXPERIMENT.full.settings == 5


def test_the_quantized_optimum_of_a_sphere_is_reached_unless_steps_vanish():
    sphere = problem("Sphere", 2)
    least = grid.lowest(sphere, 4)
    line = np.arange(-16, 17) / 16
    every = [sphere.quiet(np.array([[x, y]]))[0] / sphere.scale for x in line for y in line]
    assert least == np.floor(min(every) * 16 + 0.5) / 16
    fast, still = grid.descend(sphere, 4, 2)
    assert still
    assert grid.quantized_objective(sphere, fast[None], 4)[0] == least
    slow, still = grid.descend(sphere, 4, 9)
    assert still
    assert np.array_equal(slow, np.floor(sphere.start() * 16 + 0.5) / 16)  # it never moved


def row(part="test", method="Band", seed=0, **changes):
    known = {"function": "Schaffer", "dimension": 2, "counting": "1", "setting": 0, "gap": 2.0}
    return known | {"part": part, "method": method, "seed": seed, "near": None} | changes


def test_the_setting_that_is_near_most_often_is_chosen_then_that_with_the_least_gap():
    rows = [
        row("tuning", setting=0, gap=0.5, near=9),
        row("tuning", setting=0, gap=50.0, seed=1),
        row("tuning", setting=1, gap=1.5),
        row("tuning", setting=1, gap=1.5, seed=1),
        row("tuning", "SGLD", setting=0, gap=9.0),
        row("tuning", "SGLD", setting=1, gap=8.0),
    ]
    chosen = search.choose(rows)
    assert chosen[("Schaffer", 2, "1", "Band")] == 0
    assert chosen[("Schaffer", 2, "1", "SGLD")] == 1


def test_the_test_begins_when_settings_are_chosen():
    quick = search.EXPERIMENT.quick
    first = search.plan(quick, [])
    assert {cell["part"] for cell in first} == {"objective", "tuning"}
    rows = [cell | {"near": None, "gap": 1.0} for cell in first if cell["part"] == "tuning"]
    second = search.plan(quick, rows)
    assert second[: len(first)] == first
    tests = second[len(first) :]
    assert len(tests) == 2 * 2 * 7 * len(quick.seeds)
    assert {cell["seed"] for cell in tests} == set(quick.seeds)


def test_seeds_of_the_tuning_are_not_tested():
    full = search.EXPERIMENT.full
    assert not set(full.seeds) & set(full.tuning)
    assert len(full.seeds) >= 100
    with pytest.raises(ValueError, match=r"seeds \[1001\] are for the choice"):
        search.plan(search.Search(**vars(search.EXPERIMENT.quick) | {"seeds": (3, 1001)}), [])


def test_profiles_count_instances_that_nobody_solved():
    rows = [
        row(method="Band", seed=0, near=30),
        row(method="SGLD", seed=0, near=10),
        row(method="Band", seed=1, near=5),
        row(method="SGLD", seed=1),
        row(method="Band", seed=2),
        row(method="Band", seed=3),
        row("tuning", method="Band", seed=9, near=1),
    ]
    found = search_report.profile(rows, "1")
    assert found["Band"] == ([1.0, 1.0, 3.0], [0.0, 0.25, 0.5])
    assert found["SGLD"] == ([1.0, 1.0], [0.0, 0.25])
