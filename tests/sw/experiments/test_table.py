"""Tables are what their columns say, when they are written and when they are read."""

import math

import pytest

from upshift.experiments import table
from upshift.experiments.table import Column

COLUMNS = (
    Column("arm", str, "which", ("SGD", "Adam, sum")),
    Column("seed", int, "of everything", low=0),
    Column("loss", float, "at the end", low=0),
    Column("accuracy", float, "at the end", low=0, high=1, optional=True),
    Column("lost", bool, "whether it diverged"),
)
ROWS = [
    {"arm": "SGD", "seed": 0, "loss": 0.1 + 0.2, "accuracy": 1.0, "lost": False},
    {"arm": "Adam, sum", "seed": 1, "loss": math.inf, "accuracy": None, "lost": True},
]


def test_rows_come_back_as_they_were(tmp_path):
    table.write(tmp_path / "rows.csv", ROWS, COLUMNS)
    assert table.read(tmp_path / "rows.csv", COLUMNS) == ROWS
    assert (tmp_path / "rows.csv").read_text().splitlines() == [
        "arm,seed,loss,accuracy,lost",
        "SGD,0,0.30000000000000004,1.0,false",
        '"Adam, sum",1,inf,,true',
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": "sgd"}, "row 2: arm 'sgd' is not allowed: SGD, Adam, sum"),
        ({"seed": -1}, "row 2: seed -1 is not allowed: 0 to inf"),
        ({"seed": 1.0}, "row 2: seed 1.0 is not allowed: int"),
        ({"seed": True}, "row 2: seed True is not allowed: int"),
        ({"seed": None}, "row 2: seed None is not allowed: int"),
        ({"loss": math.nan}, "row 2: loss nan is not allowed"),
        ({"accuracy": 1.5}, "row 2: accuracy 1.5 is not allowed: 0 to 1"),
        ({"more": 1}, "row 2: missing or unknown: more"),
    ],
)
def test_nothing_is_written_if_a_row_is_wrong(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        table.write(tmp_path / "rows.csv", [ROWS[0], ROWS[0] | change], COLUMNS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arm,seed", "seed,arm", "has the columns seed, arm, .*, not arm, seed"),
        ("SGD,0", "SGD,zero", "row 1: seed 'zero' is not allowed: int"),
        ("SGD,0", "SGD,", "row 1: seed '' is not allowed"),
        ("false", "no", "row 1: lost 'no' is not allowed: bool"),
        (",false", "", "row 1 has 4 cells, not 5"),
        ("inf", "nan", "row 2: loss nan"),
    ],
)
def test_a_file_that_is_not_what_the_columns_say_is_refused(tmp_path, old, new, message):
    path = tmp_path / "rows.csv"
    table.write(path, ROWS, COLUMNS)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message):
        table.read(path, COLUMNS)


def test_columns_describe_themselves():
    lines = table.describe(COLUMNS).splitlines()
    assert "| `accuracy` | number or empty | at the end |" in lines
    assert len(lines) == 2 + len(COLUMNS)
