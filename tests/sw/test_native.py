"""Libraries are compiled once, and again when anything that went in is another."""

import ctypes
import os

import pytest

from upshift import native

SOURCES = {"answer.cpp": '#include "answer.h"\nextern "C" int answer() { return ANSWER; }\n'}


def answer(number, **more):
    path = native.library(
        {**SOURCES, "answer.h": f"#define ANSWER {number}\n"}, "answer.cpp", [], **more
    )
    return path, ctypes.CDLL(str(path)).answer()


def test_what_goes_in_decides_which_library_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = []

    def prepare(directory):
        made.append(sorted(path.name for path in directory.iterdir()))
        return ["-DUNUSED"]

    first, said = answer(42, prepare=prepare)
    assert said == 42
    assert answer(42, prepare=prepare) == (first, 42)
    assert made == [["answer.cpp", "answer.h"]]
    others = [answer(41), answer(42, others=["of other tools"])]
    assert [said for _, said in others] == [41, 42]
    monkeypatch.setattr(native, "processor", lambda: "abacus")
    others.append(answer(42))
    assert len({first, *(path for path, _ in others)}) == 4
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4, "nothing else stays"


def test_what_the_compiler_says_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"failed:\n(.*\n)*.*ANSWER"):
        native.library({"answer.cpp": "int answer = ANSWER;\n"}, "answer.cpp", [])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(native.CompilerMissingError, match="none of c\\+\\+, g\\+\\+, clang"):
        native.library(SOURCES, "answer.cpp", [])


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        r"printf 'c\374rious 1.0'; exit 3",
        r'[ "$1" = --version ] && exit 0; printf "f\344ilure" >&2; exit 1',
    ],
)
def test_whatever_ails_a_compiler_is_an_error_of_one_kind(script, monkeypatch, tmp_path):
    program = tmp_path / "c++"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match="c\\+\\+ failed"):
        native.library(SOURCES, "answer.cpp", [])
