"""The search for dividers, against the calculators that come with the FPGA tools."""

import re
import subprocess
import sys
from fractions import Fraction
from importlib.metadata import entry_points

import pytest

from upshift_boards import pll
from upshift_boards.clock import ice40_filter
from upshift_boards.pll import LIMITS, Settings, search

MEGA = 10**6


def tool(name, *arguments, cwd):
    """Run a pip-installed calculator and return what it printed and what it wrote."""
    (point,) = entry_points(group="console_scripts", name=name)
    code = f"import sys; from {point.module} import {point.attr} as main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "-f", "pll.v"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + (cwd / "pll.v").read_text()


def number(pattern, text):
    return int(re.search(pattern, text)[1])


def assert_legal(settings, limits):
    """What must hold of any settings, computed another way than the search does."""
    assert settings.reference in limits.reference
    assert settings.feedback in limits.feedback
    assert settings.divider in limits.divider
    comparison = Fraction(settings.input, settings.reference)
    total = comparison * settings.feedback
    if limits.feedback_from_output:
        output, oscillator = total, total * settings.divider
    else:
        output, oscillator = total / settings.divider, total
    assert (settings.frequency, settings.oscillator) == (output, oscillator)
    for frequency, (low, high) in (
        (settings.input, limits.input),
        (comparison, limits.comparison),
        (oscillator, limits.oscillator),
        (output, limits.output),
    ):
        assert Fraction(low) * MEGA <= frequency <= Fraction(high) * MEGA


@pytest.mark.parametrize(("source", "wanted"), [(12, 24), (12, 48), (12, 60), (25, 32)])
def test_ice40_settings_are_as_good_as_icepll(tmp_path, source, wanted):
    text = tool("yowasp-icepll", "-i", f"{source}", "-o", f"{wanted}", cwd=tmp_path)
    theirs = Fraction(re.search(r"F_PLLOUT: +([\d.]+) MHz \(achieved\)", text)[1])
    settings = search("SB_PLL40_CORE", source * MEGA, wanted * MEGA)
    assert_legal(settings, LIMITS["SB_PLL40_CORE"])
    assert abs(settings.frequency / MEGA - wanted) <= abs(theirs - wanted) + Fraction(1, 1000)
    if settings.reference == 1 + number(r"DIVR: +(\d+)", text):
        assert settings.feedback == 1 + number(r"DIVF: +(\d+)", text)
        assert settings.divider == 1 << number(r"DIVQ: +(\d+)", text)
        assert ice40_filter(settings) == number(r"FILTER_RANGE: +(\d+)", text)


@pytest.mark.parametrize(("source", "wanted"), [(25, 50), (48, 60), (25, 75), (12, 96)])
def test_ecp5_settings_are_as_good_as_ecppll(tmp_path, source, wanted):
    text = tool("yowasp-ecppll", "-i", f"{source}", "-o", f"{wanted}", cwd=tmp_path)
    theirs = Fraction(
        source * number(r"CLKFB_DIV\((\d+)\)", text), number(r"CLKI_DIV\((\d+)\)", text)
    )
    settings = search("EHXPLLL", source * MEGA, wanted * MEGA)
    assert_legal(settings, LIMITS["EHXPLLL"])
    assert abs(settings.frequency / MEGA - wanted) <= abs(theirs - wanted)


@pytest.mark.parametrize(("source", "wanted"), [(27, 54), (27, 81), (27, 60)])
@pytest.mark.parametrize("device", ["GW1NR-LV9QN88PC6/I5", "GW2A-LV18PG256C8/I7"])
def test_gowin_settings_are_as_good_as_gowin_pll(tmp_path, device, source, wanted):
    text = tool("gowin_pll", "-i", f"{source}", "-o", f"{wanted}", "-d", device, cwd=tmp_path)
    theirs = Fraction(
        source * (1 + number(r"FBDIV_SEL\((\d+)\)", text)), 1 + number(r"IDIV_SEL\((\d+)\)", text)
    )
    low, high = re.search(r"VCO = .* \(range: ([\d.]+)-([\d.]+) MHz\)", text).groups()
    settings = search("rPLL", source * MEGA, wanted * MEGA)
    assert_legal(settings, LIMITS["rPLL"])
    assert float(low) <= settings.oscillator / MEGA <= float(high)
    assert abs(settings.frequency / MEGA - wanted) <= abs(theirs - wanted)


@pytest.mark.parametrize("primitive", LIMITS)
def test_random_settings_are_legal_and_close(rng, primitive):
    limits = LIMITS[primitive]
    for _ in range(50):
        source, wanted = int(rng.integers(12, 100)) * MEGA, int(rng.integers(20, 200)) * MEGA
        try:
            settings = search(primitive, source, wanted)
        except ValueError:
            continue
        assert_legal(settings, limits)
        assert abs(settings.frequency - wanted) <= wanted * pll.MAX_ERROR


def test_the_nearest_frequency_wins_and_then_the_fastest_comparison():
    assert search("EHXPLLL", 25 * MEGA, 50 * MEGA) == Settings(
        25 * MEGA, reference=1, feedback=2, divider=12, oscillator=Fraction(600 * MEGA)
    )


@pytest.mark.parametrize(
    ("primitive", "source", "wanted", "message"),
    [
        ("SB_PLL40_CORE", 5 * MEGA, 24 * MEGA, r"5000000 Hz into SB_PLL40_CORE is not allowed"),
        ("SB_PLL40_CORE", 12 * MEGA, 10 * MEGA, r"cannot make 10 MHz .* the nearest is nothing"),
        ("SB_PLL40_CORE", 12 * MEGA, 16 * MEGA, r"cannot make 16 MHz from 12 MHz: .* 16\.1250 MHz"),
        ("EHXPLLL", 25 * MEGA, 500 * MEGA, r"cannot make 500 MHz from 25 MHz"),
        ("rPLL", 27 * MEGA, 1 * MEGA, r"cannot make 1 MHz from 27 MHz"),
    ],
)
def test_an_impossible_clock_is_refused(primitive, source, wanted, message):
    with pytest.raises(ValueError, match=message):
        search(primitive, source, wanted)
