import os

from redline.engine.memory import free_bytes, num_cores


def test_a_quota_limits_the_cores(tmp_path):
    quota = tmp_path / "cpu.max"
    cores = len(os.sched_getaffinity(0))
    for text, expected in (
        ("max 100000", cores),
        ("150000 100000", min(2, cores)),
        ("1000 100000", 1),
        ("", cores),
    ):
        quota.write_text(text)
        assert num_cores(quota) == expected, text
    assert num_cores(tmp_path / "missing") == cores


def test_cached_files_do_not_count_as_used_memory(tmp_path):
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    assert free_bytes(tmp_path) == 100_000
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 600000\n")
    assert free_bytes(tmp_path) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(tmp_path) > 1_000_000
