"""The documentation is current, its examples run, its links lead somewhere, its commands parse."""

import contextlib
import doctest
import importlib.util
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from upshift import cli
from upshift_boards import find

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "experiments").glob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:href|src|srcset)=\"([^\"]+)\"")
_COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?upshift (?!\w+:)(.*)$")
_INLINE = re.compile(r"`upshift ([^`\n]+)`")


@pytest.fixture(scope="module")
def generate():
    path = ROOT / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("docs_generate", path)
    module = importlib.util.module_from_spec(spec)
    before = sys.path.copy()
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def blocks(page, *kinds):
    """Yield the line and the text of each fenced block of some kinds."""
    text = page.read_text()
    for match in _FENCE.finditer(text):
        if match[1] in kinds:
            yield text[: match.start(2)].count("\n"), match[2]


def prose(page):
    return _FENCE.sub("", page.read_text())


# -- generated parts ----------------------------------------------------------------------------


def test_quick_parts_are_current(generate):
    assert generate.stale() == []
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("unit.md", "| 6 | `clocks` |", "| 7 | `clocks` |"),
        ("unit.md", "| 26:14 | `count` |", "| 27:14 | `count` |"),
        ("formats.md", "| 2.5 | 3 |", "| 2.5 | 2 |"),
        ("images/timing-hazard.svg", "B0", "B1"),
        ("images/timing-axi.svg", "A1", "A2"),
    ],
)
def test_a_stale_part_is_noticed(generate, tmp_path, name, old, new):
    directory = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", directory)
    page = directory / name
    text = page.read_text()
    assert old in text
    page.write_text(text.replace(old, new))
    assert generate.stale(directory) == [page]


def test_the_check_fails_if_something_is_stale(generate, monkeypatch, capsys):
    monkeypatch.setattr(generate, "stale", lambda: [ROOT / "docs" / "unit.md"])
    assert generate.main(["--check"]) == 1
    assert "stale: docs/unit.md; run 'make docs'" in capsys.readouterr().err


def test_every_marked_part_has_a_maker_and_every_part_is_used(generate, tmp_path):
    used = re.findall(r"<!-- generated: ([\w-]+) -->", "".join(page.read_text() for page in PAGES))
    assert set(used) == set(generate.QUICK | generate._measured(tmp_path))


def test_measured_parts_are_filled():
    text = "".join(page.read_text() for page in PAGES)
    assert text.count("Measured on 20") == 10


def test_a_part_that_does_not_exist_is_refused(generate, tmp_path):
    with pytest.raises(SystemExit, match="no part is called 'nonsense'"):
        generate.write(tmp_path, ["nonsense"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"board": "ulx3s_85f"}, "its board is 'ulx3s_85f': 'ulx3s_25f' allowed"),
        ({"board": None}, "its board is None"),
        ({"digest": "0" * 64}, "its unit has the digest 0000"),
        ({"url": "virtual:ulx3s_25f"}, "it is of virtual:ulx3s_25f: serial: and a port"),
        ({"url": "serial:///dev/pts/7"}, "it is of serial:///dev/pts/7"),
        ({"equal": False}, "the device differed"),
    ],
)
def test_a_board_has_run_only_if_a_result_shows_it(
    generate, tmp_path, monkeypatch, change, message
):
    monkeypatch.setattr(generate.boards, "RESULTS", tmp_path)
    (tmp_path / "hardware").mkdir()
    assert "/hardware/" not in generate.boards.boards()
    result = {
        "board": "ulx3s_25f",
        "date": "2030-01-02",
        "digest": find("ulx3s_25f").config.digest,
        "url": "serial:///dev/ttyUSB0?baud=3000000",
        "equal": True,
    }
    (tmp_path / "hardware" / "ulx3s_25f.json").write_text(json.dumps(result | change))
    if message is None:
        shown = "| [2030-01-02: equal](results/hardware/ulx3s_25f.json) |"
        assert generate.boards.boards().count(shown) == 1
    else:
        with pytest.raises(ValueError, match=rf"hardware/ulx3s_25f.json does not count: {message}"):
            generate.boards.boards()


# -- examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for line, block in blocks(page, "python"):
        where = f"{page.relative_to(ROOT)}, line {line + 1}"
        if block.startswith(">>>"):
            example = doctest.DocTestParser().get_doctest(block, names, where, str(page), line)
            problems = []
            runner = doctest.DocTestRunner(verbose=False)
            runner.run(example, out=problems.append, clear_globs=False)
            names = example.globs
            assert not problems, "".join(problems)
        else:
            exec(compile("\n" * line + block, str(page), "exec"), names)


# -- links --------------------------------------------------------------------------------------


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page):
    for match in _LINK.finditer(prose(page)):
        link = match[1] or match[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_images_are_used_and_self_contained():
    text = "".join(page.read_text() for page in PAGES)
    for image in (ROOT / "docs" / "images").iterdir():
        assert f"images/{image.name}" in text
        if image.suffix == ".svg":
            assert not re.search(r'(href|src)="(?!#)', image.read_text())


# -- commands -----------------------------------------------------------------------------------


def commands(page):
    """Yield the arguments of every upshift command line in the blocks of a page."""
    for _, block in blocks(page, "", "sh", "bash", "console", "text"):
        for line in block.replace("\\\n", " ").splitlines():
            match = _COMMAND.match(line.strip())
            if match:
                yield match[1]
    for line in prose(page).splitlines():
        match = _COMMAND.match(line.strip())
        if match and line.startswith("    "):
            yield match[1]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_parse(page):
    parser = cli.parser()
    for command in commands(page):
        arguments = shlex.split(command, comments=True)
        with contextlib.ExitStack() as stack:
            if arguments[-1:] in (["--help"], ["--version"]):
                stack.enter_context(pytest.raises(SystemExit, match=r"^0$"))
            parser.parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_the_text_exist(page):
    parser = cli.parser()
    for match in _INLINE.finditer(prose(page)):
        arguments = shlex.split(match[1])
        if len(arguments) == 1:  # only the name of a command
            with pytest.raises(SystemExit, match=r"^0$"):
                parser.parse_args([arguments[0], "--help"])
        else:
            parser.parse_args(arguments)


def test_commands_are_found():
    found = [command for page in PAGES for command in commands(page)]
    assert "verify --fault 1" in found
    assert len(found) >= 5
