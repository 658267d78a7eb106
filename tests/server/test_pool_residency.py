"""Which model gives way to another, and when."""

from dataclasses import dataclass

from redline.server.pool.residency import Room, leaves_at_s, victims


@dataclass
class Model:
    num_bytes: int = 1
    in_use: int = 0
    loaded_s: float = 0.0
    load_s: float = 0.0
    idle_s: float = 0.0


def test_nobody_goes_while_there_is_room():
    assert victims(Model(2), [Model(3), Model(4)], [Model(1)], Room(10, None)) == []
    assert victims(Model(2), [Model(3), Model(4)], [], Room(9, 3)) == []


def test_the_least_recently_used_goes_first_and_one_in_use_last():
    old, new, busy = Model(idle_s=1), Model(idle_s=2), Model(in_use=1, idle_s=0, loaded_s=0)
    loaded = [busy, new, old]
    assert victims(Model(), loaded, [], Room(3, None)) == [old]
    assert victims(Model(), loaded, [], Room(9, 2)) == [old, new]
    assert victims(Model(), loaded, [], Room(9, 1)) == [old, new, busy]
    longer = Model(in_use=3, loaded_s=-1)
    assert victims(Model(), [busy, longer], [], Room(2, None)) == [longer]


def test_nobody_goes_without_need():
    small, large = Model(1, idle_s=1), Model(9, idle_s=2)
    assert victims(Model(9), [small, large], [], Room(10, None)) == [large]


def test_what_is_being_loaded_stays():
    idle = Model(5)
    assert victims(Model(5), [idle], [Model(5)], Room(10, None)) == [idle]


def test_a_model_in_use_stays_for_its_residency_and_an_idle_one_for_as_long_as_it_took_to_load():
    assert leaves_at_s(Model(in_use=1, loaded_s=100, load_s=2), 5) == 105
    assert leaves_at_s(Model(loaded_s=100, idle_s=101, load_s=2), 5) == 103
    assert leaves_at_s(Model(loaded_s=100, idle_s=104, load_s=2), 5) == 105
    assert leaves_at_s(Model(loaded_s=100, idle_s=104, load_s=30), 5) == 105
    assert leaves_at_s(Model(loaded_s=100, idle_s=99, load_s=1), 5) == 101
