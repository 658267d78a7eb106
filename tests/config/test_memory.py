from dataclasses import replace

import pytest

from redline.config.memory import GIB, MIB, RESERVE_BYTES, KVBudget, MemoryBudget, check_fits, describe, size
from redline.errors import CapacityError

FULL = KVBudget(window=0, num_layers=4, num_sharing=2, block_size=16, block_bytes=2**20, num_blocks=100)
WINDOWED = KVBudget(window=512, num_layers=20, num_sharing=0, block_size=16, block_bytes=2**19, num_blocks=10)
BUDGET = MemoryBudget(
    process_bytes=60 * MIB,
    free_bytes=1000 * MIB,
    weight_bytes=200 * MIB,
    rotary_bytes=2 * MIB,
    activation_bytes=30 * MIB,
    graph_bytes=4 * MIB,
    scratch_bytes=5 * MIB,
    table_bytes=6 * MIB,
    offload_bytes=7 * MIB,
    kv=(FULL, WINDOWED),
)


def test_the_sum_has_every_term_and_what_is_held_already_is_not_needed_again():
    assert BUDGET.kv_bytes == 105 * MIB
    assert BUDGET.needed_bytes == (200 + 2 + 30 + 4 + 5 + 6 + 7 + 105) * MIB
    assert BUDGET.total_bytes == BUDGET.needed_bytes + 60 * MIB == sum(each for _, each in BUDGET.terms())
    assert BUDGET.left_bytes == 1000 * MIB - BUDGET.needed_bytes


def test_the_lines_show_each_kind_of_layer_and_what_is_left():
    lines = describe(BUDGET)
    assert len({line.index("iB") for line in lines[1:] if "iB" in line}) == 1  # the unit of the first column
    said = [" ".join(line.split()) for line in lines]
    assert "weights 200.0 MiB" in said and "left free 641.0 MiB" in said
    assert "in all 419.0 MiB when every block has been used" in said
    full, windowed = [line for line in said if line.startswith("K/V")]
    assert full.startswith(
        "K/V 100.0 MiB 4 layers, 2 more read theirs: 64.0 KiB a token, 1.0 MiB a block of 16"
    )
    assert windowed == (
        "K/V, window 512 5.0 MiB 20 layers: 32.0 KiB a token, 512.0 KiB a block of 16, 10 blocks"
    )
    assert "offload" not in "\n".join(describe(replace(BUDGET, offload_bytes=0)))


def test_a_budget_fits_while_the_reserve_stays_free():
    exact = replace(BUDGET, free_bytes=BUDGET.needed_bytes + RESERVE_BYTES)
    check_fits(exact, "m")
    with pytest.raises(CapacityError):
        check_fits(replace(exact, free_bytes=exact.free_bytes - 1), "m")


def test_what_does_not_fit_is_refused_with_the_arithmetic_and_what_to_lower():
    with pytest.raises(CapacityError) as refused:
        check_fits(replace(BUDGET, free_bytes=300 * MIB), "big")
    said = str(refused.value)
    assert (
        "big does not fit in memory: weights 200.0 MiB + rotary tables 2.0 MiB + activations 30.0 MiB" in said
    )
    assert "K/V blocks 105.0 MiB = 359.0 MiB, and 64.0 MiB in reserve; free are 300.0 MiB" in said
    assert "choose a smaller model" in said and "lower kv_memory" in said and "threads" not in said


def test_sizes_are_written_in_the_unit_that_suits_them():
    assert [size(each) for each in (360 * 1024, 5 * MIB // 2, -9 * GIB // 4)] == [
        "360.0 KiB", "2.5 MiB", "-2.25 GiB",
    ]  # fmt: skip
