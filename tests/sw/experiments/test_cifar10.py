"""The archive of CIFAR-10, as its authors made it, and what is not it."""

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from upshift import cli
from upshift.experiments import campaign, cifar10, residual, table1

BATCH = 3
"""Images of a batch, where the real one has 10,000."""


class Batch:
    """A batch, pickled as Python 2 did: with byte strings, and an array by NumPy 1's names."""

    def __init__(self, pixels, labels):
        self.pixels, self.labels = pixels, labels

    def pickled(self):
        def string(content):
            return b"T" + len(content).to_bytes(4, "little") + content  # BINSTRING

        shape = b"".join(b"J" + n.to_bytes(4, "little", signed=True) for n in self.pixels.shape)
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\n"
             b"(cnumpy\nndarray\nJ" + bytes(4) + b"\x85" + string(b"b") + b"tR"
            + b"(J" + (1).to_bytes(4, "little") + b"(" + shape + b"t"
            + b"cnumpy\ndtype\n(" + string(b"u1") + b"J" + bytes(4) + b"J"
            + (1).to_bytes(4, "little") + b"tR"
            + b"(J" + (3).to_bytes(4, "little") + string(b"|") + b"NNN"
            + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffJ" + bytes(4) + b"tb"
            + b"\x89" + string(self.pixels.tobytes()) + b"tb"
        )  # fmt: skip
        labels = b"](" + b"".join(b"J" + n.to_bytes(4, "little") for n in self.labels) + b"e"
        return (
            b"\x80\x02}("
            + string(b"batch_label") + string(b"a batch")
            + string(b"labels") + labels
            + string(b"data") + array
            + b"u."
        )  # fmt: skip


def batches(rng, images=BATCH):
    """Return the six batches of a small archive, by member."""
    return {
        name: Batch(
            rng.integers(0, 256, (images, 3072), np.uint8),
            [(number + 7 * image) % 10 for image in range(images)],
        )
        for number, name in enumerate((*cifar10.TRAINING, cifar10.TEST))
    }


def write(path, members):
    """Write an archive; members are bytes."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


@pytest.fixture
def members(rng):
    return {name: batch.pickled() for name, batch in batches(rng).items()}


def test_images_and_labels_are_those_of_the_archive(rng, tmp_path):
    made = batches(rng)
    path = write(tmp_path / "a.tar.gz", {name: batch.pickled() for name, batch in made.items()})
    data = cifar10.load(path)
    first, last = made[cifar10.TRAINING[0]], made[cifar10.TEST]
    assert data.train_images.shape == (5 * BATCH, 3, 32, 32)
    assert data.train_labels[:BATCH].tolist() == first.labels
    assert data.test_labels.tolist() == last.labels
    # Red, green and blue planes, each by rows, from -1 to 1.
    pixels = last.pixels.reshape(BATCH, 3, 32, 32) / 127.5 - 1
    np.testing.assert_allclose(data.test_images.numpy(), pixels, atol=1e-6)
    assert cifar10.check(path) == hashlib.sha256((tmp_path / "a.tar.gz").read_bytes()).hexdigest()


def test_the_table_is_measured_with_the_paper_s_network(rng, tmp_path):
    content = {name: batch.pickled() for name, batch in batches(rng, images=10).items()}
    path = write(tmp_path / "a.tar.gz", content)
    settings = replace(table1.EXPERIMENT.quick, archive=path, epochs=1)
    cells = table1.plan(settings, [])
    assert {cell["sha256"] for cell in cells} == {cifar10.check(path)}
    (row,) = table1.measure(cells[0])
    assert (row["epoch"], 0 <= row["accuracy"] <= 1) == (1, True)
    network = table1.residual.network(0, **table1.TASKS["CIFAR-10"].network)
    layers = [p for p in network.parameters() if p.ndim > 1]
    assert (len(layers), sum(p.numel() for p in network.parameters())) == (32, 464_154)


def test_the_table_is_made_of_an_archive_as_of_digits(rng, tmp_path):
    content = {name: batch.pickled() for name, batch in batches(rng, images=20).items()}
    path = write(tmp_path / "a.tar.gz", content)
    settings = replace(
        table1.EXPERIMENT.quick,
        archive=path,
        rates=(3,),
        arms=(("plain", "float32"), ("Band, no vanish", "Fixed(18, 16)")),
        epochs=1,
    )
    result = campaign.run(
        table1.EXPERIMENT, settings, tmp_path / "out", form="quick", command="as it is"
    )
    rows, _ = campaign.load(table1.EXPERIMENT, tmp_path / "out")
    assert {(row["task"], row["part"]) for row in rows} == {
        ("CIFAR-10", "test"),
        ("CIFAR-10", "validation"),
    }
    assert result["cells"] == len(rows) == 16
    assert "QtAdam, Band, no vanish" in (tmp_path / "out" / campaign.REPORT).read_text()


def test_the_shortcut_is_the_paper_s():
    block = residual.Block(16, 32).eval()
    for p in block.branch.parameters():
        nn.init.zeros_(p)
    x = torch.rand(2, 16, 8, 8)
    pooled = nn.functional.max_pool2d(x, 1, stride=2)
    assert torch.equal(block(x), torch.cat((pooled, torch.zeros_like(pooled)), 1))


def test_what_is_no_archive_is_refused(tmp_path, capsys):
    missing, text = tmp_path / "missing.tar.gz", tmp_path / "text.tar.gz"
    text.write_text("no archive")
    for path in (missing, text):
        arguments = ["experiment", "table1", "--quick", "--cifar10", str(path)]
        assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert f"{path} cannot be read as an archive" in error
        assert "cifar-10-python.tar.gz" in error


def test_members_that_are_missing_are_named(tmp_path, members):
    del members[cifar10.TEST]
    path = write(tmp_path / "a.tar.gz", members)
    with pytest.raises(ValueError, match=r"has no cifar-10-batches-py/test_batch: the Python"):
        cifar10.check(path)


class _Evil:
    def __reduce__(self):
        return print, ("this must not be printed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(_Evil(), 2), "it asks for __builtin__.print"),
        (b"garbage", "cannot be read"),
        (pickle.dumps({}, 2), "cannot be read"),
        (pickle.dumps({b"data": [1], b"labels": ["zero"]}, 2), "cannot be read"),
        (b"\x80\x02h\x07.", "cannot be read"),
        (Batch(np.zeros((2, 3072), np.uint8), [0]).pickled(), "and 1 labels"),
        (Batch(np.zeros((1, 3071), np.uint8), [0]).pickled(), r"shape \(1, 3071\)"),
        (Batch(np.zeros((1, 3072), np.uint8), [10]).pickled(), "has a label 10: 0 to 9"),
    ],
)
def test_members_that_are_no_batches_are_refused(tmp_path, members, capsys, content, message):
    members[cifar10.TRAINING[2]] = content
    path = write(tmp_path / "a.tar.gz", members)
    with pytest.raises(ValueError, match=message) as caught:
        cifar10.load(path)
    assert "data_batch_3" in str(caught.value)
    assert "this must not be printed" not in capsys.readouterr().out


def test_the_archive_is_for_one_experiment(capsys):
    assert cli.main(["experiment", "forensics", "--cifar10", "a.tar.gz"]) == 2
    assert "--cifar10 is not allowed with forensics: it is for table1" in capsys.readouterr().err
