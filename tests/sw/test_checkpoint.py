"""What is kept comes back to the bit, and what does not fit is refused."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import upshift.device
from upshift import checkpoint
from upshift.checkpoint import Checkpoint
from upshift.config import UnitConfig
from upshift.formats import Fixed, bfloat16
from upshift.optim import Band, Constant, QtAdam, QtSGD

CONFIG = UnitConfig(lanes=4, depth=64)
ENDINGS = ["npz", "safetensors", "kept"]


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 3))


def optimize(model, device=None, kind=QtSGD, **options):
    formats = {} if device else {"weight": CONFIG.weight, "gradient": CONFIG.gradient}
    own = {"momentum": 0.75} if kind is QtSGD else {"weight_decay": 0.01}
    given = {"resolution": Band()} | own | formats | options
    return kind(model.parameters(), 2**-4, device=device, **given)


def learn(model, optimizer, steps, start=0):
    for number in range(start, start + steps):
        x = torch.randn(6, 5, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if number % 3 == 2:
            optimizer.resolution.step()


def everything(model, optimizer):
    state = optimizer.state_dict()
    moments = [
        torch.as_tensor(m).tolist() for entry in state["state"].values() for m in entry.values()
    ]
    values = [value.tolist() for value in model.state_dict().values()]
    return values, moments, state["param_groups"], state["resolution"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mirror", [None, "read", "model"])
@pytest.mark.parametrize("kind", [QtSGD, QtAdam])
def test_training_goes_on_with_the_same_bits(tmp_path, ending, mirror, kind):
    straight = network()
    whole = optimize(straight, kind=kind)
    learn(straight, whole, 9)

    file = tmp_path / f"run.{ending}"
    with upshift.device.open("model:", CONFIG) as device:
        model = network()
        on = {"device": device, "mirror": mirror} if mirror else {}
        optimizer = optimize(model, kind=kind, **on)
        learn(model, optimizer, 5)
        checkpoint.save(file, model, optimizer, extra={"steps": 5})
    with upshift.device.open("model:", CONFIG) as device:
        model = nn.Sequential(*(layer for layer in network()))
        nn.init.zeros_(model[0].weight)
        on = {"device": device, "mirror": mirror} if mirror else {}
        optimizer = optimize(model, kind=kind, **on)
        extra = checkpoint.load(file, model, optimizer)
        learn(model, optimizer, 4, start=extra["steps"])
        assert everything(model, optimizer) == everything(straight, whole)
        if mirror:
            raw = device.read(0, sum(p.numel() for p in model.parameters()))
            held = torch.cat([p.detach().ravel() for p in straight.parameters()])
            assert np.array_equal(CONFIG.weight.decode(raw), held.double().numpy())
    assert [path.name for path in tmp_path.iterdir()] == [file.name], "nothing is left over"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("weight", [Fixed(18, 16), Fixed(54, 20)])
def test_a_file_holds_what_was_written(tmp_path, rng, ending, weight):
    raw = rng.integers(weight.min, weight.max, (3, 4), endpoint=True)
    raw[0, :2] = weight.min, weight.max
    extra = {
        "numbers": [1, -2.5e-300, 2**70, True, None],
        "text": "\N{GREEK SMALL LETTER LAMDA}",
        "order": rng.integers(0, 256, 40, np.uint8),
        "deep": [{"empty": np.zeros((0, 3)), "scalar": np.array(7)}],
    }
    kept = Checkpoint(
        weight,
        bfloat16,
        CONFIG,
        {"0.weight": raw, "scalar": np.array(-5)},
        {"mean": rng.random(4).T[::2], "flag": np.array([True])},
        {"resolution": Constant(3).state_dict()},
        extra,
    )
    checkpoint.write(tmp_path / f"a.{ending}", kept)
    back = checkpoint.read(str(tmp_path / f"a.{ending}"))
    assert (back.weight, back.gradient, back.config) == (weight, bfloat16, CONFIG)
    assert {name: a.dtype for name, a in back.weights.items()} == dict.fromkeys(
        kept.weights, np.int64
    )
    assert back.weights["0.weight"].tolist() == raw.tolist()
    assert back.weights["scalar"].shape == ()
    assert back.model["mean"].tolist() == kept.model["mean"].tolist()
    assert back.optimizer["resolution"]["q"] == 3
    assert back.extra["numbers"] == extra["numbers"]
    assert back.extra["text"] == extra["text"]
    for ours, theirs in (
        (extra["order"], back.extra["order"]),
        (extra["deep"][0]["empty"], back.extra["deep"][0]["empty"]),
        (extra["deep"][0]["scalar"], back.extra["deep"][0]["scalar"]),
    ):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert np.array_equal(ours, theirs)


def test_others_can_read_the_weights_without_this_package(tmp_path):
    from safetensors.numpy import load_file

    model = network()
    optimizer = optimize(model)
    for name in ("a.npz", "a.safetensors"):
        checkpoint.save(tmp_path / name, model, optimizer)
    expected = model[0].weight.detach().double().numpy() * 2.0**16
    for arrays in (np.load(tmp_path / "a.npz"), load_file(tmp_path / "a.safetensors")):
        assert np.array_equal(arrays["weights/0.weight"], expected)
        assert arrays["weights/0.weight"].dtype == np.int32


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_a_damaged_file_is_refused_or_harmless(tmp_path, rng, ending):
    model = network()
    optimizer = optimize(model)
    learn(model, optimizer, 2)
    good, bad = tmp_path / f"good.{ending}", tmp_path / f"bad.{ending}"
    checkpoint.save(good, model, optimizer, extra={"order": np.arange(9)})
    data, before = good.read_bytes(), everything(model, optimizer)
    cases = [data[:cut] for cut in [0, 1, 8, 100, *rng.integers(0, len(data), 20)]]
    for at in rng.integers(0, len(data), 150):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        cases.append(bytes(flipped))
    refused = []
    for case in cases:
        bad.write_bytes(case)
        try:
            checkpoint.load(bad, model, optimizer)
        except ValueError as error:
            refused.append(str(error))
        assert everything(model, optimizer) == before
    assert len(refused) > 24
    assert all(str(bad) in message for message in refused)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    model = network()
    optimizer = optimize(model)
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    np.savez(tmp_path / "kind.npz", header=np.frombuffer(b'{"kind": "cake"}', np.uint8))
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "garbage").write_bytes(b"no archive at all")
    for name in ("other.npz", "kind.npz", "object.npy", "garbage"):
        with pytest.raises(ValueError, match=rf"{name} is damaged or not a checkpoint$"):
            checkpoint.load(tmp_path / name, model, optimizer)
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "missing.npz", model, optimizer)

    checkpoint.save(tmp_path / "new.npz", model, optimizer)
    arrays = dict(np.load(tmp_path / "new.npz"))
    header = json.loads(arrays["header"].tobytes()) | {"version": 2}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "new.npz", **arrays)
    with pytest.raises(ValueError, match="checkpoint of version 2: 1 is allowed"):
        checkpoint.load(tmp_path / "new.npz", model, optimizer)


def test_another_unit_or_formats_or_model_or_optimizer_are_refused(tmp_path):
    file = tmp_path / "a.npz"
    with upshift.device.open("model:", CONFIG) as device:
        model = network()
        optimizer = optimize(model, device)
        learn(model, optimizer, 3)
        checkpoint.save(file, model, optimizer)

    def refuses(message, model, **options):
        optimizer = optimize(model, **options)
        learn(model, optimizer, 1)
        before = everything(model, optimizer)
        with pytest.raises(ValueError, match=message):
            checkpoint.load(file, model, optimizer)
        assert everything(model, optimizer) == before

    with upshift.device.open("model:", UnitConfig(lanes=2, depth=128)) as other:
        refuses("another unit: depth 64, not 128; lanes 4, not 2$", network(), device=other)
    refuses("holds weights 18.16 for .*but the opt.* has 16.12", network(), weight=Fixed(16, 12))
    refuses("gradients 16.12, but the optimizer has 18.16 and None", network(), gradient=None)
    refuses("the state has no 'betas': not of a QtAdam", network(), kind=QtAdam)
    refuses("cannot load the state of a 'Band' policy", network(), resolution=Constant(4))
    bigger = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4))
    refuses(r"holds the weights .*3.weight \(3, 4\).* has .*3.weight \(4, 4\)", bigger)
    bare = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False))
    bare.extend([nn.Tanh(), nn.Linear(4, 3)])
    refuses(r"arrays 1.running_mean \(4,\).*but the model has \(none\)", bare)

    model = network()
    learned = optimize(model)
    checkpoint.load(file, model, learned)  # weights on no unit may come from any
    assert learned.resolution.t == 1


def test_what_cannot_be_kept_is_refused_and_the_old_file_stays(tmp_path):
    file, model = tmp_path / "a.npz", network()
    optimizer = optimize(model)
    checkpoint.save(file, model, optimizer, extra=1)
    with pytest.raises(TypeError, match="extra/0/here is a set, which a checkpoint cannot keep"):
        checkpoint.save(file, model, optimizer, extra=[{"here": {1}}])
    with pytest.raises(TypeError, match="extra has keys"):
        checkpoint.save(file, model, optimizer, extra={(1, 2): 3})
    with pytest.raises(TypeError, match=r"extra/a has keys \[7\]: texts allowed"):
        checkpoint.save(file, model, optimizer, extra={"a": {7: 3}})
    with pytest.raises(ValueError, match="extra/0 has the key '__array__', which is reserved"):
        checkpoint.save(file, model, optimizer, extra=[{"__array__": "weights/0.weight"}])
    twice = {"a/b": np.ones(1), "a": {"b": np.zeros(1)}}
    with pytest.raises(ValueError, match="two arrays are called extra/a/b"):
        checkpoint.save(file, model, optimizer, extra=twice)
    halved = network()
    halved.register_buffer("mean", torch.zeros(3, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=r"^mean is a .* of torch.bfloat16, .* dtype that NumPy"):
        checkpoint.save(file, halved, optimize(halved))
    floats = QtSGD(network().parameters(), 0.1, resolution=Band())
    with pytest.raises(ValueError, match=r"keeps fixed-point weights: use torch\.save"):
        checkpoint.save(file, model, floats)
    with pytest.raises(ValueError, match=r"parameters \[0, 1, 2, 3, 4, 5\] of the optimizer are"):
        checkpoint.save(file, network(), optimizer)
    assert checkpoint.load(file, model, optimizer) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_tied_and_frozen_parameters(tmp_path):
    def make(start):
        torch.manual_seed(start)
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        model[2].requires_grad_(False)
        learning = [p for p in model.parameters() if p.requires_grad]
        return model, QtSGD(learning, 2**-3, resolution=Band(), weight=Fixed(18, 16))

    model, optimizer = make(1)
    checkpoint.save(tmp_path / "a", model, optimizer)
    kept = checkpoint.read(tmp_path / "a")
    assert list(kept.weights) == ["0.weight", "0.bias", "1.bias"]
    assert list(kept.model) == ["2.weight", "2.bias"]
    other, other_optimizer = make(2)
    checkpoint.load(tmp_path / "a", other, other_optimizer)
    assert everything(other, other_optimizer) == everything(model, optimizer)
