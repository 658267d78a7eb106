import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.errors import ModelFileError, ModelNotFound, RedlineError, UnsupportedModel
from redline.models.load_weights import load_weights
from redline.models.safetensors_file import SafetensorsFile, open_safetensors, read_json_object
from redline.ops.registry import backend
from tests.models.files import hf_tensors, safetensors_bytes, write_directory

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def opened(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return SafetensorsFile(path)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_reads_what_the_library_writes(tmp_path, dtype):
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"odd": np.ones(3, dtype), "a": ARRAY.astype(dtype)}
    library.save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "x.safetensors")
    assert set(file.tensors) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(file.array(file.tensors[name]), array)
        assert file.array(file.tensors[name]).flags.aligned


def raw(header):
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + bytes(24)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"1234567", "too few"),
        (struct.pack("<Q", 2**63) + bytes(80), "header claims 9223372036854775808"),
        (raw(b"{"), "not valid JSON"),
        (raw(b"\xff\xfe{}"), "not valid JSON"),
        (raw(b"[" * 200_000), "not valid JSON"),
        (raw([]), "expected a JSON object"),
        (raw(b'{"a": 1, "a": 2}'), "a key appears twice"),
        (raw({"a": 5}), "must be described by dtype, shape and data_offsets"),
        (raw({"a": ENTRY | {"more": 1}}), "must be described"),
        (raw({"a": ENTRY | {"dtype": "F33"}}), "unknown dtype 'F33'"),
        (raw({"a": ENTRY | {"dtype": ["F32"]}}), "unknown dtype"),
        (raw({"a": ENTRY | {"shape": [2, -3]}}), "shape is"),
        (raw({"a": ENTRY | {"shape": [2, True]}}), "shape is"),
        (raw({"a": ENTRY | {"shape": [2**40, 2**40]}}), "truncated or corrupt"),
        (raw({"a": ENTRY | {"shape": [1] * 9}}), "shape is"),
        (raw({"a": ENTRY | {"data_offsets": [0]}}), "data_offsets is"),
        (raw({"a": ENTRY | {"data_offsets": [0, 23]}}), "claims bytes 0 to 23"),
        (raw({"a": ENTRY | {"data_offsets": [24, 48]}}), "claims bytes 24 to 48"),
        (raw({"a": ENTRY, "b": ENTRY}), "overlap"),
    ],
)
def test_a_wrong_header_says_what_is_wrong(tmp_path, data, message):
    with pytest.raises(RedlineError, match=message) as raised:
        opened(tmp_path, data)
    assert "model.safetensors" in str(raised.value)


def test_a_pipe_as_configuration_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelFileError, match="not a regular file"):
        read_json_object(tmp_path / "config.json")


def test_integers_are_no_weights(tmp_path):
    file = opened(tmp_path, raw({"a": {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]}}))
    with pytest.raises(UnsupportedModel, match="a has dtype I64"):
        file.array(file.tensors["a"])


def write_shards(path, **index_changes):
    write_directory(path)
    tensors = hf_tensors()
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, part in parts.items():
        (path / file).write_bytes(safetensors_bytes({name: tensors[name] for name in part}))
    weight_map = {name: file for file, part in parts.items() for name in part} | index_changes
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return path


def test_shards_load_like_one_file(tmp_path):
    whole = load_weights(write_directory(tmp_path / "a"), backend("cpu"), "float")
    parts = load_weights(write_shards(tmp_path / "b"), backend("cpu"), "float")
    ids = np.arange(5, dtype=np.int32)
    rows = [each.embedding.embedding(backend("cpu"), ids) for each in (whole, parts)]
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"model.norm.weight": "three.safetensors"}, ModelNotFound, "three.safetensors"),
        ({"model.norm.weight": "../b.safetensors"}, ModelFileError, "not the name of a safetensors file"),
        ({"model.norm.weight": "/etc/passwd"}, ModelFileError, "not the name of a safetensors file"),
        ({"model.norm.weight": 5}, ModelFileError, "must map tensor names to file names"),
        ({"extra.weight": "one.safetensors"}, ModelFileError, "extra.weight is not in one.safetensors"),
    ],
)
def test_a_wrong_index_is_refused(tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        open_safetensors(write_shards(tmp_path / "m", **changes))


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    path = write_shards(tmp_path / "m")
    (path / "one.safetensors").write_bytes(safetensors_bytes(hf_tensors()))
    with pytest.raises(ModelFileError, match="in two of its files"):
        open_safetensors(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 1800), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_header_bytes_load_or_raise_our_error(tmp_path, changes):
    path = write_directory(tmp_path / "m")
    data = bytearray((path / "model.safetensors").read_bytes())
    for at, value in changes:
        data[at] = value
    (path / "model.safetensors").write_bytes(data)
    try:
        load_weights(path, backend("cpu"), "int8")
    except RedlineError as error:
        assert str(error)
