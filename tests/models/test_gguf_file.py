import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redline.errors import ModelFileError, ModelNotFound, RedlineError, UnsupportedModel
from redline.models.gguf_file import GGUFFile
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models.files import gguf_bytes, key_value, llama_metadata, llama_tensors, tensor_info, text

TENSOR = {"a": np.arange(12, dtype=np.float32).reshape(3, 4)}
OPEN = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)  # one key is to follow
HEADER_END = 1536  # of the tiny Llama: all of its metadata and tensor descriptions


def opened(tmp_path, data):
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return GGUFFile(path)


def test_values_and_tensors_come_back(tmp_path):
    metadata = {
        "a.int": 7,
        "a.float": 0.5,
        "a.bool": True,
        "a.text": "grüße",
        "a.texts": ["x", "", "日本"],
        "a.numbers": np.array([1, -2], np.int32),
    }
    file = opened(tmp_path, gguf_bytes(metadata, TENSOR | {"b": np.ones(5)}))
    read = dict(file.metadata)
    np.testing.assert_array_equal(read.pop("a.numbers"), metadata.pop("a.numbers"))
    assert read == metadata
    assert file.metadata.section("a")["numbers"] == [1, -2]
    assert [(each.name, each.shape, each.type.name) for each in file.tensors.values()] == [
        ("a", (3, 4), "F32"),
        ("b", (5,), "F32"),
    ]
    np.testing.assert_array_equal(file.blocks(file.tensors["a"]).view("<f4").reshape(3, 4), TENSOR["a"])


def test_a_tensor_reads_the_same_after_its_pages_were_dropped(tmp_path):
    array = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    file = opened(tmp_path, gguf_bytes({}, {"a": array}))
    for _ in range(2):
        np.testing.assert_array_equal(file.blocks(file.tensors["a"]).view("<f4"), array.ravel())
        file.drop_pages(file.tensors["a"])


def file_backed_bytes():
    """Memory of this process that files back, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssFile"):
            return int(line.split()[1]) * 1024
    pytest.skip("this system does not count file-backed memory")


def test_dropped_pages_leave_memory(tmp_path):
    file = opened(tmp_path, gguf_bytes({}, {"a": np.ones((4096, 1024), np.float32)}))
    assert file.blocks(file.tensors["a"]).max() > 0
    held = file_backed_bytes()
    file.drop_pages(file.tensors["a"])
    assert held - file_backed_bytes() > 12 * 2**20


def test_alignment_is_taken_from_the_file(tmp_path):
    data = gguf_bytes({"general.alignment": 256}, TENSOR | {"b": np.ones(3)}, alignment=256)
    file = opened(tmp_path, data)
    np.testing.assert_array_equal(file.blocks(file.tensors["b"]).view("<f4"), np.ones(3))


def wrong(changed, message, error=ModelFileError):
    return pytest.param(changed, message, error, id=message[:40].replace(" ", "-"))


@pytest.mark.parametrize(
    "data, message, error",
    [
        wrong(b"", "cannot be read"),
        wrong(b"GGU", "within magic"),
        wrong(b"PK\x03\x04" + bytes(60), "does not start with 'GGUF'"),
        wrong(gguf_bytes({}, {}, version=1), "version 1", UnsupportedModel),
        wrong(b"GGUF\0\0\0\3" + bytes(40), "big-endian", UnsupportedModel),
        wrong(gguf_bytes({}, TENSOR, num_tensors=2**60), "tensor_count is 1152921504606846976"),
        wrong(gguf_bytes({}, TENSOR, num_tensors=2), "has 0 dimensions"),
        wrong(gguf_bytes({"a": 1}, TENSOR, num_keys=2**63), "kv_count is"),
        wrong(
            gguf_bytes({"a": 1, "b": "x"}, {}).replace(b"b\x08", b"b\x63"),
            "unknown value type 99",
            RedlineError,
        ),
        wrong(OPEN[:-8] + struct.pack("<Q", 2) + key_value("k", 1) * 2, "key 'k' appears twice"),
        wrong(
            gguf_bytes({}, TENSOR, infos=[tensor_info("t", (2,), 0)] * 2, num_tensors=2), "'t' appears twice"
        ),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (2,) * 5, 0)]), "has 5 dimensions"),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (0, 4), 0)]), "must be at least 1"),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (2**62, 4), 0)]), "needs bytes"),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (2**63, 2**63), 0)]), "truncated or corrupt"),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (3, 4), 2**63)]), "file has"),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (3, 4), 7)]), "offset 7, not a multiple of 32"),
        wrong(
            gguf_bytes({}, TENSOR, infos=[tensor_info("t", (3, 4), 0, 5)]), "ggml type 5", UnsupportedModel
        ),
        wrong(gguf_bytes({}, TENSOR, infos=[tensor_info("t", (3, 4), 0, 2)]), "a multiple of 32"),
        wrong(
            gguf_bytes(
                {}, TENSOR, infos=[tensor_info("t", (3, 4), 0), tensor_info("u", (2,), 32)], num_tensors=2
            ),
            "'t' and 'u' overlap",
        ),
        wrong(gguf_bytes({"general.alignment": 24}, TENSOR), "power of two"),
        wrong(gguf_bytes({"general.alignment": 0}, TENSOR), "power of two"),
        wrong(gguf_bytes({"general.alignment": "x"}, TENSOR), "power of two"),
        wrong(OPEN + text(b"\xff\xfe") + bytes(9), "is not UTF-8"),
        wrong(OPEN + struct.pack("<Q", 2**40) + bytes(99), "claims 1099511627776"),
        wrong(
            OPEN + text("k") + struct.pack("<IIQ", 9, 8, 2**40) + bytes(99),
            "length of k is 1099511627776",
        ),
        wrong(
            OPEN + text("k") + struct.pack("<IIQQ", 9, 8, 2, 2**50) + bytes(99),
            "an element of k",
        ),
        wrong(
            OPEN + text("k") + struct.pack("<IIQQ", 9, 8, 1, 100) + bytes(99),
            "the last element of k",
        ),
        wrong(
            OPEN + text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(99),
            "array of the unknown type 9",
            UnsupportedModel,
        ),
    ],
)
def test_a_wrong_header_says_what_is_wrong(tmp_path, data, message, error):
    with pytest.raises(error, match=message) as raised:
        opened(tmp_path, data)
    assert "model.gguf" in str(raised.value)


def test_text_that_is_not_utf8_is_refused_when_read(tmp_path):
    file = opened(tmp_path, gguf_bytes({"k": [b"ok", b"\xff"]}, {}))
    with pytest.raises(ModelFileError, match="k holds text that is not UTF-8"):
        file.metadata["k"]


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(ModelNotFound, match="absent.gguf"):
        GGUFFile(tmp_path / "absent.gguf")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(ModelFileError, match="not a regular file"):
        GGUFFile(tmp_path / "model.gguf")


def test_every_truncation_is_refused(tmp_path):
    data = gguf_bytes(llama_metadata(), llama_tensors())
    path = tmp_path / "model.gguf"
    for length in [*range(0, 600, 7), *range(600, len(data), 101), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError):
            load_weights(path, backend("cpu"), "int8")
    path.write_bytes(data)
    load_weights(path, backend("cpu"), "int8")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, HEADER_END - 1), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_changed_header_bytes_load_or_raise_our_error(tmp_path, changes):
    data = bytearray(gguf_bytes(llama_metadata(), llama_tensors()))
    for at, value in changes:
        data[at % len(data)] = value
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    try:
        load_weights(path, backend("cpu"), "int8")
    except RedlineError as error:
        assert str(error)
