"""`redline hardware`: what is measured is what is said, and what was saved is used for this machine alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from redline import _kernels
from redline.bench.hardware import hardware as module
from redline.bench.hardware.caches import Cache, data_caches
from redline.bench.hardware.hardware import Hardware, Reading
from redline.bench.hardware.roofline import LEAST, MOST, LogScale, Roof, roofs
from redline.bench.hardware.saved import load, save
from redline.bench.hardware.storage import PIECE_BYTES, disk_read_bytes_s
from redline.bench.hardware.svg_picture import svg_picture
from redline.bench.hardware.text_picture import text_picture
from redline.bench.hardware.wake_up import process_wake_up_s
from redline.cli.main import main
from redline.ops.threads import set_num_threads

HARDWARE = Hardware(
    threads=2,
    isa="avx2",
    caches=(Cache(level=1, num_bytes=2**15, shared_by=1), Cache(level=3, num_bytes=2**25, shared_by=2)),
    readings=(
        Reading(num_bytes=2**14, threads=1, bytes_s=90e9),
        Reading(num_bytes=2**30, threads=1, bytes_s=15e9),
        Reading(num_bytes=2**15, threads=2, bytes_s=180e9),
        Reading(num_bytes=2**25, threads=2, bytes_s=60e9),
        Reading(num_bytes=2**30, threads=2, bytes_s=30e9),
    ),
    macs={"scalar": {"f32": 20e9, "int8": 40e9}, "avx2": {"f32": 100e9, "int8": 200e9}},
    disk_read_bytes_s=1.5e9,
    process_wake_up_s=20e-6,
    hand_over_s=0.4e-6,
)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_byte_of_every_part_is_read_in_every_pass(threads: int) -> None:
    set_num_threads(threads)
    part = 8192 + 17
    buffer = np.zeros(part * threads + 5, np.uint8)
    assert _kernels.peak_reread(buffer, part, 3) == 0
    for at in (0, 4096, part - 1, part * threads - 1):
        buffer[at] = 4
        assert _kernels.peak_reread(buffer, part, 3) == 4, at
        buffer[at] = 0
    buffer[part * threads] = 1  # behind the last part
    assert _kernels.peak_reread(buffer, part, 1) == 0
    assert _kernels.peak_reread(buffer, part * 2, 1) == -1, "there are not so many bytes for each thread"


def test_a_machine_is_measured_with_one_thread_and_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 2**21)
    monkeypatch.setattr(module, "MEMORY_BYTES", 2**20)
    monkeypatch.setattr(module, "PASS_BYTES", 2**21)
    monkeypatch.setattr(module, "disk_read_bytes_s", lambda folder: None)
    before, said = _kernels.isa(), []
    measured = Hardware.measure(2, said.append)
    assert _kernels.isa() == before == measured.isa and said
    sizes = {count: [r.num_bytes for r in measured.readings if r.threads == count] for count in (1, 2)}
    assert sizes == {1: [2**14, 2**16, 2**18, 2**20, 2**21], 2: [2**15, 2**17, 2**19, 2**21]}
    assert min(each.bytes_s for each in measured.readings) > 0
    assert "scalar" in measured.macs and measured.isa in measured.macs
    assert measured.process_wake_up_s > 0 and measured.hand_over_s >= 0


def test_reading_is_that_of_the_next_larger_size() -> None:
    assert HARDWARE.read_bytes_s(2**15) == 180e9
    assert HARDWARE.read_bytes_s(2**15 + 1) == 60e9
    assert HARDWARE.read_bytes_s(2**40) == 30e9


def test_caches_are_those_of_the_system(tmp_path: Path) -> None:
    written = {
        "index0": ("1", "Data", "48K", "0"),
        "index1": ("1", "Instruction", "64K", "0"),
        "index3": ("3", "Unified", "30M", "0-3,8"),
        "index4": ("4", "Unified", "what", "0"),
    }
    for name, (level, kind, size, cpus) in written.items():
        (tmp_path / name).mkdir()
        for field, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", cpus)):
            (tmp_path / name / field).write_text(text + "\n")
    assert data_caches(tmp_path) == [
        Cache(level=1, num_bytes=48 * 2**10, shared_by=1),
        Cache(level=3, num_bytes=30 * 2**20, shared_by=5),
    ]
    assert data_caches(tmp_path / "none") == []


def test_the_disk_is_read_and_left_as_it_was(tmp_path: Path) -> None:
    rate = disk_read_bytes_s(tmp_path / "new", 2 * PIECE_BYTES)
    assert rate is not None and rate > 0
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    assert disk_read_bytes_s(tmp_path / "file", PIECE_BYTES) is None


def test_a_sleeping_process_wakes_up() -> None:
    assert 0 < process_wake_up_s() < 1


def test_saved_hardware_is_of_this_machine_alone(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "hardware.json"
    assert load(path, 2) is None
    save(path, HARDWARE)
    assert load(path, 2) == HARDWARE
    assert load(path, 3) is None
    kept = json.loads(path.read_text())
    for change in (
        lambda: kept["identity"].update(cpu="another"),
        lambda: kept["hardware"].pop("macs"),
        lambda: kept.pop("hardware"),
    ):
        change()
        path.write_text(json.dumps(kept))
        assert load(path, 2) is None
    path.write_text("{")
    assert load(path, 2) is None


def test_roofs_are_bandwidths_and_peaks_of_the_widest_instruction_set() -> None:
    memory, caches, floats, integers = roofs(HARDWARE)
    assert memory.at(2.0) == 60e9 and caches.at(2.0) == 360e9
    assert floats == Roof(name="float32", peak=100e9) and integers.at(2.0) == integers.at(99.0) == 200e9


def test_a_scale_of_powers_has_its_ends_and_powers() -> None:
    scale = LogScale(LEAST, MOST, 10, 150)
    assert scale(LEAST) == 10 and scale(MOST) == pytest.approx(150)
    assert scale.powers(4) == pytest.approx([0.25, 1, 4, 16, 64, 256, 1024, 4096])


def test_pictures_show_every_roof() -> None:
    lines = text_picture(HARDWARE)
    assert max(map(len, lines)) <= 80
    area = "".join(line for line in lines[:19])
    assert all(mark in area for mark in "mcab")
    assert any("30.0 GB/s" in line for line in lines) and any("200 GMAC/s" in line for line in lines)
    svg = svg_picture(HARDWARE, "a <machine>")
    names = "".join(ElementTree.fromstring(svg).itertext())
    for name in ("memory, 30 GB/s", "first-level caches, 180 GB/s", "float32, 100 GMAC/s", "a <machine>"):
        assert name in names


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """How many threads were measured, each time that happened."""
    times: list[int] = []

    def measure(threads: int, tell: Callable[[str], None]) -> Hardware:
        times.append(threads)
        return HARDWARE

    monkeypatch.setattr(Hardware, "measure", measure)
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path))
    return times


def test_the_verb_measures_once(
    measured: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "roof.svg"
    assert main(["hardware", "--threads", "2", "--svg", str(picture)]) == 0
    assert "first-level caches" in capsys.readouterr().out and picture.read_text().startswith("<svg")
    assert main(["hardware", "--threads", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hardware"]["macs"]["avx2"]["int8"] == 200e9
    assert measured == [2]
    assert main(["hardware", "--threads", "2", "--again"]) == 0
    assert measured == [2, 2]
    assert f"Measured {date.today().isoformat()}" in capsys.readouterr().out


def test_a_busy_machine_is_said_before_its_numbers_are_kept(
    measured: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for average, said in ((0.4, ""), (3.2, "The load average is 3.2")):
        monkeypatch.setattr(os, "getloadavg", lambda average=average: (average, 0.0, 0.0))
        assert main(["hardware", "--threads", "2", "--again"]) == 0
        assert capsys.readouterr().err.startswith(said) and bool(said) == (average > 1)


@pytest.mark.parametrize(
    ("flags", "named"), [(["--threads", "0"], "--threads is 0"), (["--svg", "none/a.svg"], "none/a.svg")]
)
def test_bad_flags_are_refused(
    measured: list[int], flags: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hardware", *flags]) == 2
    assert named in capsys.readouterr().err and not measured
