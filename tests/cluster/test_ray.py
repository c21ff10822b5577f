"""Two Ray nodes on this machine, one of them lost in the middle of a batch: every run ends once in the records."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

FAULTS = Path(__file__).resolve().parents[1] / "faults"
sys.path.insert(0, str(FAULTS))
import dummy  # noqa: E402

from vislab.batch import cluster  # noqa: E402
from vislab.errors import UserError  # noqa: E402

SEEDS = 12
RUNTIME = {
    "env_vars": {"PYTHONPATH": str(FAULTS), "OMP_NUM_THREADS": "1"},
    "worker_process_setup_hook": "dummy.install_slowly",
}


@pytest.fixture
def two_nodes():
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=1)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()


def records(folder):
    found = {}
    for path in (folder / "dummy").glob("*.json"):
        content = json.loads(path.read_text())
        place = (content["arm"], content["seed"])
        assert place not in found and content["status"] == "done"
        found[place] = content["metrics"]["accuracy"]
    return found


def test_a_lost_node_costs_no_run(two_nodes, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RUNS", str(tmp_path))
    dummy.install()
    units = dummy.units(SEEDS)
    done = []

    def kill_in_the_middle():
        while len(done) < 5:
            time.sleep(0.02)
        two_nodes.remove_node(two_nodes.second, allow_graceful=False)

    killer = threading.Thread(target=kill_in_the_middle, daemon=True)
    killer.start()
    results = cluster.run_all(
        units, two_nodes.address, report=lambda result, count, total: done.append(result), runtime=RUNTIME
    )
    killer.join(timeout=30)
    assert not killer.is_alive()
    assert len(results) == len(units) and all(r.record is not None and r.record.status == "done" for r in results)
    expected = {(arm, seed): 100.0 * seed + steps for arm, steps in (("one", 3), ("two", 6)) for seed in range(SEEDS)}
    assert records(tmp_path) == expected
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "dummy").glob("*.json")}
    deadline = time.monotonic() + 60
    while sum(n["Alive"] for n in ray.nodes()) > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert sum(n["Alive"] for n in ray.nodes()) == 1
    cluster.run_all(units, two_nodes.address, runtime=RUNTIME)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "dummy").glob("*.json")}


def test_no_cluster_at_the_address():
    with pytest.raises(UserError, match="no Ray cluster answers"):
        cluster.connect("127.0.0.1:1")
