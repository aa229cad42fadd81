"""Keep and resume: raw weights, optimizer and resolution in one file, to the bit.

A file ending in ``.safetensors`` is in that format, any other is a NumPy ``.npz``; neither can
contain code. It holds arrays and one JSON header: the formats, the unit's identity if there was
one, all state that is not an array, and a SHA-256 over everything. Weights are raw words, arrays
named ``weights/`` and the parameter's name, so that other programs can read them.

A file is written beside its place and then moved there, so that a host that loses its power leaves
the old file or the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upshift import formats
from upshift.config import UnitConfig
from upshift.formats import Fixed, Format, Raw

if TYPE_CHECKING:
    from torch import Tensor, nn

    from upshift.optim._optimizer import QtOptimizer

VERSION = 1
_KIND = "upshift checkpoint"
_ARRAY = "__array__"
_WEIGHTS, _MODEL = "weights/", "model/"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    weight : Fixed
    gradient : Format or None
        None if directions were not encoded.
    config : UnitConfig or None
        The unit that held the weights, if one did.
    weights : dict
        Raw words of each parameter, by its name in the model.
    model : dict
        Arrays of the model that the optimizer does not train.
    optimizer : dict
        Its ``state_dict()``, the resolution policy's state under ``"resolution"``; arrays instead
        of tensors, and text instead of integer keys.
    extra : Any
        What the caller wanted kept.
    """

    weight: Fixed
    gradient: Format | None
    config: UnitConfig | None
    weights: dict[str, Raw]
    model: dict[str, NDArray[Any]]
    optimizer: dict[str, Any]
    extra: Any = None


def save(path: str | Path, model: nn.Module, optimizer: QtOptimizer, extra: Any = None) -> None:
    """Write a model and the state of its optimizer.

    The device, if there is one, is waited for.

    Parameters
    ----------
    path : str or Path
        Replaced if it exists.
    model : torch.nn.Module
    optimizer : QtSGD or QtAdam
        With fixed-point weights, all of them parameters of `model`.
    extra : optional
        Dictionaries with text keys, lists, numbers, texts, NumPy arrays; `load` returns it.

    Raises
    ------
    ValueError
        If the weights are floating-point, a parameter is not of the model, or `extra` has a
        reserved key.
    TypeError
        If something in `extra` cannot be kept, or a tensor has a dtype that NumPy lacks.
    """
    state = optimizer.state_dict()
    weight = optimizer.weight
    if weight is None:
        raise ValueError("a checkpoint keeps fixed-point weights: use torch.save for others")
    named = _named(model, optimizer)
    write(
        path,
        Checkpoint(
            weight,
            optimizer.gradient,
            None if optimizer.device is None else optimizer.device.config,
            {name: weight.encode(_to_array(p.double(), name)) for name, p in named.items()},
            {name: _to_array(value, name) for name, value in _others(model, named).items()},
            state,
            extra,
        ),
    )


def load(path: str | Path, model: nn.Module, optimizer: QtOptimizer) -> Any:
    """Restore what `save` kept, write the device, and return `extra`.

    Parameters
    ----------
    path : str or Path
    model : torch.nn.Module
    optimizer : QtSGD or QtAdam
        As they were made for the model that was saved, with any weights.

    Raises
    ------
    ValueError
        If the file is damaged, of an unknown version, of other formats or another unit, or of
        another model or optimizer. Nothing has changed then.
    """
    import torch

    kept = read(path)
    named = _named(model, optimizer)
    others = _others(model, named)
    _check_identity(path, kept, optimizer)
    for what, ours, theirs in (("weights", named, kept.weights), ("arrays", others, kept.model)):
        if {k: tuple(v.shape) for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
            raise ValueError(
                f"{path} holds the {what} {_shapes(theirs)}, but the model has {_shapes(ours)}"
            )
    before = {name: value.clone() for name, value in [*named.items(), *others.items()]}
    try:
        with torch.no_grad():
            for name, value in others.items():
                value.copy_(torch.from_numpy(kept.model[name]))
            for name, p in named.items():
                p.copy_(torch.from_numpy(kept.weight.decode(kept.weights[name])))
        state = _map_arrays(kept.optimizer, torch.from_numpy)
        entries = {int(index): entry for index, entry in state["state"].items()}
        optimizer.load_state_dict({**state, "state": entries})
    except Exception:
        with torch.no_grad():
            for name, value in [*named.items(), *others.items()]:
                value.copy_(before[name])
        raise
    return kept.extra


def write(path: str | Path, kept: Checkpoint) -> None:
    """Write a checkpoint, all of it or nothing.

    Raises
    ------
    TypeError
        If `extra` has something that cannot be kept.
    ValueError
        If `extra` has a reserved key.
    """
    path = Path(path)
    dtype = np.int32 if kept.weight.width <= 32 else np.int64
    arrays: dict[str, NDArray[Any]] = {}
    for name, raw in kept.weights.items():
        arrays[_WEIGHTS + name] = kept.weight.check(raw).astype(dtype)
    for name, array in kept.model.items():
        arrays[_MODEL + name] = np.asarray(array, order="C")
    header: dict[str, Any] = {
        "kind": _KIND,
        "version": VERSION,
        "weight": str(kept.weight),
        "gradient": None if kept.gradient is None else str(kept.gradient),
        "config": None if kept.config is None else json.loads(kept.config.to_json()),
        "identity": None if kept.config is None else kept.config.digest,
        "optimizer": _pack(kept.optimizer, "optimizer", arrays, keys=str | int),
        "extra": _pack(kept.extra, "extra", arrays, keys=str),
    }
    header["sha256"] = _digest(header, arrays)
    data = _to_bytes(path, json.dumps(header), arrays)
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ValueError
        If the file is damaged, not a checkpoint, or of an unknown version.
    """
    path = Path(path)
    data = path.read_bytes()
    header, arrays = _from_bytes(path, data)
    try:
        if header["version"] != VERSION:
            raise ValueError(
                f"{path} is a checkpoint of version {header['version']}: {VERSION} is allowed"
            )
        claimed = header.pop("sha256")
        if claimed != _digest(header, arrays):
            raise ValueError(f"{path} is damaged: its contents do not have its SHA-256")
    except KeyError as error:
        raise ValueError(f"{path} is damaged: it has no {error}") from error
    weight = formats.parse(header["weight"])
    assert isinstance(weight, Fixed)
    config, gradient = header["config"], header["gradient"]
    return Checkpoint(
        weight,
        None if gradient is None else formats.parse(gradient),
        None if config is None else UnitConfig.from_mapping(config),
        {name: weight.check(raw) for name, raw in _under(_WEIGHTS, arrays).items()},
        _under(_MODEL, arrays),
        _unpack(header["optimizer"], arrays),
        _unpack(header["extra"], arrays),
    )


# -- models and optimizers ---------------------------------------------------------------------


def _named(model: nn.Module, optimizer: QtOptimizer) -> dict[str, Tensor]:
    """Return the optimizer's parameters by their names in the model."""
    held = {p: number for number, p in enumerate(_parameters(optimizer))}
    named: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p in held}
    for p in named.values():
        held.pop(p)
    if held:
        raise ValueError(f"parameters {[*held.values()]} of the optimizer are not the model's")
    return named


def _parameters(optimizer: QtOptimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _others(model: nn.Module, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model that its optimizer does not train."""
    trained = {p.data_ptr() for p in named.values() if p.numel()}
    return {
        name: value
        for name, value in model.state_dict().items()
        if name not in named and value.data_ptr() not in trained
    }


def _to_array(value: Tensor, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value.detach().cpu().numpy())
    except TypeError as error:
        raise TypeError(
            f"{name} is a {value.layout} tensor of {value.dtype}, which a checkpoint cannot keep: "
            "allowed are dense tensors of a dtype that NumPy has"
        ) from error


def _check_identity(path: str | Path, kept: Checkpoint, optimizer: QtOptimizer) -> None:
    ours = (optimizer.weight, optimizer.gradient)
    if (kept.weight, kept.gradient) != ours:
        raise ValueError(
            f"{path} holds weights {kept.weight} for gradients {kept.gradient}, "
            f"but the optimizer has {ours[0]} and {ours[1]}"
        )
    config = None if optimizer.device is None else optimizer.device.config
    if None in (config, kept.config) or config == kept.config:
        return
    assert config is not None
    assert kept.config is not None
    mine, theirs = (json.loads(c.to_json()) for c in (config, kept.config))
    differ = [f"{key} {theirs[key]}, not {mine[key]}" for key in mine if mine[key] != theirs[key]]
    raise ValueError(f"{path} was kept for another unit: {'; '.join(differ)}")


def _shapes(arrays: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {tuple(a.shape)}" for name, a in arrays.items()) or "(none)"


# -- trees of primitives and arrays -----------------------------------------------------------


def _pack(value: Any, path: str, arrays: dict[str, NDArray[Any]], *, keys: Any) -> Any:
    """Return `value` as JSON can hold it; arrays and tensors go to `arrays` under their path.

    JSON makes text of the keys of dictionaries, which therefore have to be of the types `keys`.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_pack(v, f"{path}/{n}", arrays, keys=keys) for n, v in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(isinstance(key, keys) for key in value):
            raise TypeError(f"{path} has keys {list(value)}: texts allowed")
        if _ARRAY in value:
            raise ValueError(f"{path} has the key {_ARRAY!r}, which is reserved: any other allowed")
        return {str(k): _pack(v, f"{path}/{k}", arrays, keys=keys) for k, v in value.items()}
    if path in arrays:
        raise ValueError(f"two arrays are called {path}: keys without a slash allowed")
    if isinstance(value, np.ndarray):
        arrays[path] = np.asarray(value, order="C")
    elif hasattr(value, "detach"):
        arrays[path] = _to_array(value, path)
    else:
        raise TypeError(
            f"{path} is a {type(value).__name__}, which a checkpoint cannot keep: "
            "allowed are dictionaries, lists, numbers, texts and arrays"
        )
    return {_ARRAY: path}


def _unpack(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _unpack(item, arrays) for key, item in value.items()}
    return value


def _map_arrays(value: Any, change: Callable[[NDArray[Any]], Any]) -> Any:
    if isinstance(value, list):
        return [_map_arrays(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _map_arrays(item, change) for key, item in value.items()}
    return change(value) if isinstance(value, np.ndarray) else value


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


# -- files -----------------------------------------------------------------------------------


def _digest(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    content = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        content.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        content.update(array.tobytes())
    return content.hexdigest()


def _to_bytes(path: Path, header: str, arrays: dict[str, NDArray[Any]]) -> bytes:
    if path.suffix == ".safetensors":
        import safetensors.numpy

        return safetensors.numpy.save(arrays, metadata={"upshift": header})
    file = io.BytesIO()
    packed = np.frombuffer(header.encode(), np.uint8)
    np.savez(file, allow_pickle=False, header=packed, **arrays)
    return file.getvalue()


def _from_bytes(path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the arrays of a file, which may hold anything."""
    if path.suffix == ".safetensors":
        import safetensors.numpy
    try:
        if path.suffix == ".safetensors":
            size = int.from_bytes(data[:8], "little")
            text = json.loads(data[8 : 8 + size])["__metadata__"]["upshift"]
            arrays = safetensors.numpy.load(data)
        else:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            text = arrays.pop("header").tobytes().decode()
        header = json.loads(text)
        if header["kind"] != _KIND:
            raise ValueError(f"its kind is {header['kind']!r}")
    except Exception as error:  # whatever the readers make of damaged bytes
        raise ValueError(f"{path} is damaged or not a checkpoint") from error
    return header, arrays
