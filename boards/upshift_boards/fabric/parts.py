"""The FPGAs that units are placed on, and how their tools are called.

One row per part and speed grade. What is asked of place and route is the clock that the unit is
meant to reach there, since its effort depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from upshift_hw.families import PIPELINE, Family


@dataclass(frozen=True)
class Part:
    """One FPGA in one package and speed grade.

    Attributes
    ----------
    name : str
        What commands call it.
    title : str
        What its makers call it.
    family : {"ecp5", "ice40", "gowin"}
        Decides the tools.
    device : str
        What its makers call it without package and grade.
    package, grade : str
        As the makers call them.
    synthesis : str
        The Yosys command.
    options : tuple of str
        Of place and route.
    clock : float
        MHz that are asked for.
    logic, block_ram : int
        What there is of them.
    pins : tuple of str
        Pins that are no others' for the three ports, where the tool does not choose them.
    """

    name: str
    title: str
    family: Family
    device: str
    package: str
    grade: str
    synthesis: str
    options: tuple[str, ...]
    clock: float
    logic: int
    block_ram: int
    pins: tuple[str, ...] = ()

    @property
    def pipeline(self) -> int:
        """Depth of a unit's pipeline here, unless one says otherwise."""
        return PIPELINE[self.family]

    @property
    def speed(self) -> str:
        """What parts that are equally fast have in common."""
        return f"{self.family}-{self.grade}" if self.family == "ecp5" else self.name


def _weight(timing: int) -> tuple[str, str]:
    """Return the option that weighs timing against the length of wires; 10 if left out."""
    return "--placer-heap-timingweight", str(timing)


_MAPPING = "scratchpad -copy abc9.script.flow2 abc9.script"
"""A longer one of the mapper's own sequences, which needs fewer tables."""


def _ecp5(name: str, grade: int, resources: tuple[int, int]) -> Part:
    return Part(
        name=f"ecp5-{name}f-{grade}",
        title=f"Lattice LFE5U-{name}F-{grade}",
        family="ecp5",
        device=f"LFE5U-{name}F",
        package="CABGA381",
        grade=str(grade),
        synthesis=f"{_MAPPING}; synth_ecp5 -nodsp",
        options=(
            *(f"--{name}k", "--package", "CABGA381", "--speed", str(grade)),
            "--lpf-allow-unconstrained",
            *_weight(30),
        ),
        clock=200,
        logic=resources[0],
        block_ram=resources[1],
    )


def _ice40(name: str, package: str, clock: float, resources: tuple[int, int]) -> Part:
    return Part(
        name=name,
        title=f"Lattice iCE40-{name.upper()}",
        family="ice40",
        device=f"iCE40{name.upper()}",
        package=package,
        grade=name[:2].upper(),
        synthesis=f"synth_ice40 -nodffe -device {_ICE40_DELAYS[name]}",
        options=(
            f"--{name}",
            "--package",
            package.lower(),
            "--pcf-allow-unconstrained",
            *_weight(70),
        ),
        clock=clock,
        logic=resources[0],
        block_ram=resources[1],
    )


_ICE40_DELAYS = {"hx8k": "hx", "up5k": "u"}
"""What Yosys calls the delays that it maps logic by."""


def _gowin(series: str, device: str, resources: tuple[int, int], pins: tuple[str, ...]) -> Part:
    model, package, grade = device.split()
    return Part(
        name=series.lower(),
        title=f"Gowin {model}{package}{grade}",
        family="gowin",
        device=model,
        package=package,
        grade=grade,
        synthesis="synth_gowin -noiopads",
        options=("--device", model + package + grade, "--family", series),
        clock=150,
        logic=resources[0],
        block_ram=resources[1],
        pins=pins,
    )


PARTS = (
    *(
        _ecp5(name, grade, resources)
        for name, resources in (("25", (24288, 56)), ("45", (43848, 108)), ("85", (83640, 208)))
        for grade in (6, 7, 8)
    ),
    _ice40("hx8k", "CT256", 150, (7680, 32)),
    _ice40("up5k", "SG48", 60, (5280, 30)),
    _gowin("GW1N-9C", "GW1NR-LV9 QN88P C6/I5", (8640, 26), ("52", "10", "11")),
    _gowin("GW2A-18", "GW2A-LV18 PG256 C8/I7", (20736, 46), ("H11", "C13", "A13")),
)
"""Every part there is."""


def find(name: str) -> Part:
    """Return the part of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    for part in PARTS:
        if part.name == name:
            return part
    raise ValueError(f"no part is called {name!r}: there are {', '.join(p.name for p in PARTS)}")
