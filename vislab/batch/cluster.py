"""Running many units on a Ray cluster: the same runs as the local pool, with the cluster's CPUs and GPUs, through the loss of nodes.

All nodes see one runs folder.
A run that was under way on a lost node is started again elsewhere; one whose record was written already finds it and does nothing.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vislab import registry
from vislab.batch.pool import Result, _give_up, _prepare, _prepared, logged_work
from vislab.engine.records import runs_folder
from vislab.engine.run import COMPARE, Unit
from vislab.errors import UserError

RETRIES = 3


def resources(unit: Unit, per_gpu: int = 1) -> dict[str, float]:
    """CPUs and GPUs of one run: what the room's card module says in `RESOURCES`, else one CPU, and on CUDA its share of a GPU."""
    asked = getattr(registry.module(unit.slug, "card"), "RESOURCES", {})
    gpus = asked.get("gpus", 1 / per_gpu) if unit.device == "cuda" else 0
    return {"num_cpus": asked.get("cpus", 1), "num_gpus": gpus}


def _remote_work(unit: Unit, fresh: bool, folder: str):
    os.environ["VISLAB_RUNS"] = folder
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return logged_work(unit, fresh)


def _remote_prepare(unit: Unit, folder: str) -> None:
    os.environ["VISLAB_RUNS"] = folder
    _prepare(unit)


def connect(address: str | None, runtime: dict[str, Any] | None = None) -> Any:
    """Ray, connected to `address`, or started on this machine; UserError naming the extra or the address."""
    try:
        import ray
    except ImportError as error:
        raise UserError("the backend ray needs the extra: pip install 'vislab[ray]'") from error
    if not ray.is_initialized():
        _answers(address)
        try:
            ray.init(address=address, runtime_env=runtime, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"no Ray cluster answers at {address or 'this machine'}: {str(error).splitlines()[0]}"
            ) from error
    return ray


def _answers(address: str | None) -> None:
    """UserError when nothing listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError as error:
            raise UserError(f"no Ray cluster answers at {address}: {error}") from error


def run_all(
    wanted: Sequence[Unit],
    address: str | None = None,
    per_gpu: int = 1,
    fresh: bool = False,
    time_budget: float | None = None,
    report: Callable[[Result, int, int], None] = lambda result, done, total: None,
    runtime: dict[str, Any] | None = None,
) -> list[Result]:
    """Run `wanted` on the cluster: prepared parts first, then the arms, then each comparison by itself.

    A run whose worker or node is lost is tried again `RETRIES` times, then recorded as failed; the others go on.
    After `time_budget` seconds nothing new is started; what is missing has `record=None`.
    """
    ray = connect(address, runtime)
    folder = str(Path(runs_folder()).absolute())
    begin = time.monotonic()
    results: list[Result] = []

    def late() -> bool:
        return time_budget is not None and time.monotonic() - begin > time_budget

    def finish(result: Result) -> None:
        results.append(result)
        report(result, len(results), len(wanted))

    def submit(function: Callable, unit: Unit, *arguments: Any) -> Any:
        task = ray.remote(function).options(max_retries=RETRIES, name=unit.name, **resources(unit, per_gpu))
        return task.remote(unit, *arguments)

    shared = [u for u in wanted if u.arm != COMPARE]
    preparing = {path: u for u in shared if (path := _prepared(u)) is not None and not path.exists()}
    # what goes wrong here goes wrong again in the arms, and is reported there
    tasks = [submit(_remote_prepare, u, folder) for u in preparing.values()]
    if tasks:
        ray.wait(tasks, num_returns=len(tasks))
    slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting, running = list(shared), {}
    while waiting or running:
        # a few more than fit, so that no node waits for this loop
        while waiting and len(running) < 2 * slots and not late():
            unit = waiting.pop(0)
            running[submit(_remote_work, unit, fresh, folder)] = unit
        if not running:
            break
        for reference in ray.wait(list(running), num_returns=1)[0]:
            finish(_settled(ray, running.pop(reference), reference))
    for unit in waiting:
        finish(Result(unit, None, "not started: the time budget was used up"))
    for unit in (u for u in wanted if u.arm == COMPARE):
        if late():
            finish(Result(unit, None, "not started: the time budget was used up"))
        else:
            finish(_settled(ray, unit, submit(_remote_work, unit, fresh, folder)))
    return results


def _settled(ray: Any, unit: Unit, reference: Any) -> Result:
    """The result of a task; one with wrong input is refused, a lost or broken one is recorded as failed."""
    try:
        return Result(unit, ray.get(reference))
    except ray.exceptions.RayTaskError as fault:
        if isinstance(fault.cause, UserError):
            return Result(unit, None, str(fault.cause), refused=True)
        return _give_up(Result(unit, None, f"{type(fault.cause).__name__}: {fault.cause}"))
    except ray.exceptions.RayError as fault:
        return _give_up(Result(unit, None, f"the worker was lost {RETRIES + 1} times ({type(fault).__name__})"))
