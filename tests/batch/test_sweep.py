"""Grids over config fields: which runs they ask for, and how their records are put together."""

import pytest

from vislab import registry
from vislab.batch import sweep
from vislab.cards import CardError, resolve
from vislab.engine.code import code_hash
from vislab.engine.records import new_record, record_key, write_record
from vislab.engine.run import as_dict

SLUG = "balpoe"
CARD = registry.card(SLUG)
CODE = code_hash(registry.room(SLUG) / "experiment.py")


def record(arm, seed, accuracy, code=CODE, **changes):
    config = resolve(CARD, "smoke", arm, changes)
    key = record_key(SLUG, arm, config, seed, "cpu", code)
    write_record(new_record(CARD, "smoke", arm, seed, config, key, "cpu", "no", code, {"accuracy": accuracy}, 1.0))


def test_combinations():
    grid = sweep.combinations(CARD, {"steps": "200,400", "learning_rate": "0.1,0.2,0.4"})
    assert len(grid) == 6 and grid[0] == {"steps": "200", "learning_rate": "0.1"} and grid[-1]["learning_rate"] == "0.4"
    assert sweep.combinations(CARD, {}) == [{}]


def test_a_tuple_field_takes_its_commas_itself():
    assert sweep.combinations(CARD, {"taus": "0,1,2"}) == [{"taus": "0,1,2"}]


def test_an_unknown_field_is_named():
    with pytest.raises(CardError, match="did you mean 'steps'"):
        sweep.combinations(CARD, {"stesp": "1,2"})


def test_points_group_seeds_and_leave_out_other_code():
    for seed, accuracy in ((0, 10.0), (1, 20.0)):
        record("balpoe", seed, accuracy)
        record("balpoe", seed, accuracy + 5, steps=2)
    record("balpoe", 0, 99.0, code="another", steps=5)
    record("ce", 0, 1.0)
    found = sweep.points(SLUG, "smoke")
    assert [(p.arm, p.changes, p.seeds) for p in found] == [("balpoe", {"steps": 2}, (0, 1)), ("balpoe", {}, (0, 1))]
    heads, rows = sweep.table(found, ["accuracy"])
    assert heads == ["arm", "steps", "seeds", "accuracy"]
    assert rows == [["balpoe", "2", "2", "20"], ["balpoe", "", "2", "15"]]
    usual = {"balpoe": as_dict(resolve(CARD, "smoke", "balpoe"))}
    assert sweep.curves(found, usual, "accuracy") == {"steps": {"balpoe": ([2, 3], [20.0, 15.0])}}


def test_no_sweep_no_points():
    record("balpoe", 0, 1.0)
    assert sweep.points(SLUG, "smoke") == []
