"""Makes emitted hardware pleasant to read: what a Verilog engineer would have written differently.

On RTLIL, identical components become one module, modules get plain names, and ports come in a
sensible order. On Verilog, each port is declared once, in the module's header. None of it
changes what the hardware does.
"""

import re
from collections import defaultdict

_KEYWORDS = {"begin", "case", "end", "if", "initial", "input", "module", "output", "reg", "wire"}
_ESCAPED = re.compile(r"\\(\S+) ")
_NAME = re.compile(r"[A-Za-z_]\w*")

_RTLIL_MODULE = re.compile(
    r"^((?:attribute [^\n]*\n)*)module \\(\S+)\n(.*?)^end\n", re.MULTILINE | re.DOTALL
)
_RTLIL_PORT = re.compile(r"^(  wire .*(?:input|output) )\d+(  ?(?:signed )?\\(\S+))$", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?=\.|$)")
_RTLIL_CELL = re.compile(r"^(  cell \\)(\S+)", re.MULTILINE)
_VERILOG_MODULE = re.compile(
    r"^module (\S+) ?\((.*?)\);\n(.*?)^endmodule\n", re.MULTILINE | re.DOTALL
)
_VERILOG_PORT = re.compile(r"^  (input|output) .*?(\S+) ?;\n", re.MULTILINE)
_VERILOG_WIRE = re.compile(r"^  ((?:wire|reg) [^=;]*?(\S+) ?(?: = [^;]*)?);\n", re.MULTILINE)


def tidy_rtlil(text: str) -> str:
    """Return RTLIL with identical modules merged, modules plainly named and ports in order."""
    modules = {name: body for _, name, body in _RTLIL_MODULE.findall(text)}
    names = _plain_names(modules)
    text = _RTLIL_CELL.sub(lambda cell: cell[1] + names.get(cell[2], cell[2]), text)
    written: dict[str, str] = {}

    def one(match: re.Match[str]) -> str:
        attributes, name, body = match.groups()
        if names[name] in written:
            if written[names[name]] != body:
                raise ValueError(f"two different modules would be called {names[name]}")
            return ""
        written[names[name]] = body
        return f"{attributes}module \\{names[name]}\n{_order_ports(body)}end\n"

    return _RTLIL_MODULE.sub(one, text)


def _plain_names(modules: dict[str, str]) -> dict[str, str]:
    """Return a new name for each module; ``x0``, ``x1``, ... all become ``x`` if identical.

    They are if what is in them is, ``x0.y`` and ``x1.y`` and so on.
    """
    bodies, parts = defaultdict(set), defaultdict(set)
    for name, body in modules.items():
        used = [cell for _, cell in _RTLIL_CELL.findall(body) if cell in modules]
        parts[_stem(name)].update(map(_stem, used))
        bodies[_stem(name)].add(_RTLIL_CELL.sub(lambda cell: cell[1] + _stem(cell[2]), body))
    alike = {stem for stem, found in bodies.items() if len(found) == 1}
    while some := {stem for stem in alike if not parts[stem] <= alike}:
        alike -= some
    return {
        name: (_stem(name) if _stem(name) in alike else name).replace(".", "_") for name in modules
    }


def _stem(name: str) -> str:
    return _NUMBER.sub("", name)


def _order_ports(body: str) -> str:
    """Renumber ports: clock and reset first, then each interface's signals side by side."""
    ports = [match[2] for match in _RTLIL_PORT.findall(body)]
    groups = list(dict.fromkeys(_group(port) for port in ports))
    ranks = ["payload", "valid", "ready"]

    def key(port: str) -> tuple[bool, int, int]:
        member = port.rpartition("__")[2]
        rank = ranks.index(member) if member in ranks else len(ranks)
        return port not in ("clk", "rst"), groups.index(_group(port)), rank

    number = {port: n for n, port in enumerate(sorted(ports, key=key), 1)}
    return _RTLIL_PORT.sub(lambda match: f"{match[1]}{number[match[3]]}{match[2]}", body)


def _group(port: str) -> str:
    """Return the interface: ``i_command__valid`` is of one, ``s_axi_wdata`` as well."""
    name, found, _ = port.partition("__")
    return name if found else port.rpartition("_")[0] or port


def tidy_verilog(text: str) -> str:
    """Return Verilog whose module headers declare the ports; Yosys' own heading is dropped."""
    modules = [_declare_ports(*match) for match in _VERILOG_MODULE.findall(_unescape(text))]
    return "\n".join(modules)


def _unescape(text: str) -> str:
    """Replace names that only a backslash makes legal by plain ones, alike in every module."""
    taken = set(_NAME.findall(_ESCAPED.sub("", text))) | _KEYWORDS
    plain = {}
    for name in dict.fromkeys(_ESCAPED.findall(text)):
        plain[name] = re.sub(r"\W+", "_", name).strip("_")
        if plain[name][0].isdigit():
            plain[name] = f"_{plain[name]}"
        while plain[name] in taken:
            plain[name] += "_"
        taken.add(plain[name])
    return _ESCAPED.sub(lambda match: plain[match[1]], text)


def _declare_ports(name: str, header: str, body: str) -> str:
    directions = {port: direction for direction, port in _VERILOG_PORT.findall(body)}
    body = _VERILOG_PORT.sub("", body)
    declarations = {}
    for declaration, port in _VERILOG_WIRE.findall(body):
        if port in directions:
            declarations[port] = f"  {directions[port]} {declaration}"
    body = _VERILOG_WIRE.sub(lambda match: "" if match[2] in directions else match[0], body)
    ports = [declarations[port] for port in re.split(r"\s*,\s*", header.strip())]
    return "\n".join([f"module {name} (", ",\n".join(ports), ");", body + "endmodule", ""])
