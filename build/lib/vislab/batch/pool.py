"""Running many units on this machine: a pebble pool forked from a parent that has torch loaded."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from vislab import registry
from vislab.engine.records import Record, new_record, write_record
from vislab.engine.run import COMPARE, Unit, execute, prepare, prepared_path
from vislab.errors import UserError


@dataclass(frozen=True)
class Result:
    """What became of a unit; `record` is None when it was not started in time."""

    unit: Unit
    record: Record | None
    error: str = ""


def work(unit: Unit, fresh: bool = False, debug: bool = False) -> Record:
    """Run one unit in this process."""
    return execute(unit, registry.card(unit.slug), registry.module(unit.slug, "experiment"), fresh, debug)


def _prepare(unit: Unit) -> None:
    prepare(unit, registry.module(unit.slug, "experiment"))


def _start_worker() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "torch" in sys.modules:  # the parent has loaded it, except for a paper that needs none
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def run_all(
    wanted: Sequence[Unit],
    jobs: int = 1,
    fresh: bool = False,
    time_budget: float | None = None,
    run_timeout: float | None = None,
    report: Callable[[Result, int, int], None] = lambda result, done, total: None,
) -> list[Result]:
    """Run `wanted`: prepared parts first, then the arms `jobs` at a time, then each comparison by itself.

    A run that crashes or outlasts `run_timeout` seconds is retried once alone, then recorded as failed; the others go on.
    After `time_budget` seconds nothing new is started; what is missing has `record=None`.
    """
    begin = time.monotonic()
    results: list[Result] = []

    def late() -> bool:
        return time_budget is not None and time.monotonic() - begin > time_budget

    def finish(result: Result) -> None:
        results.append(result)
        report(result, len(results), len(wanted))

    shared = [u for u in wanted if u.arm != COMPARE]
    exclusive = [u for u in wanted if u.arm == COMPARE]
    cuda = any(u.device == "cuda" for u in wanted)
    context = multiprocessing.get_context("spawn" if cuda else "fork")
    pool = ProcessPool(max_workers=max(1, jobs), context=context, initializer=_start_worker)
    again: list[Unit] = []
    try:
        preparing = {path: u for u in shared if (path := _prepared(u)) is not None and not path.exists()}
        for future in [pool.schedule(_prepare, args=(u,)) for u in preparing.values()]:
            future.result()
        waiting, running = list(shared), {}
        while waiting or running:
            while waiting and len(running) < max(1, jobs) and not late():
                unit = waiting.pop(0)
                running[pool.schedule(work, args=(unit, fresh), timeout=run_timeout)] = unit
            if not running:
                break
            done, _ = wait(running, return_when="FIRST_COMPLETED")
            for future in done:
                unit = running.pop(future)
                result = _result(unit, future)
                if result.record is None:
                    again.append(unit)
                else:
                    finish(result)
        for unit in waiting:
            finish(Result(unit, None, "not started: the time budget was used up"))
        for unit in again + exclusive:
            if late():
                finish(Result(unit, None, "not started: the time budget was used up"))
                continue
            result = _result(unit, pool.schedule(work, args=(unit, fresh), timeout=run_timeout))
            finish(result if result.record is not None else _give_up(result))
    except BaseException:
        pool.stop()
        pool.join()
        raise
    pool.close()
    pool.join()
    return results


def _prepared(unit: Unit) -> Path | None:
    """Where the prepared part of `unit` lies, or None where its room has none."""
    experiment = registry.module(unit.slug, "experiment")
    return prepared_path(unit, experiment.PREPARE_FIELDS) if hasattr(experiment, "prepare") else None


def _result(unit: Unit, future) -> Result:
    """The result of a finished future; crashes and time-outs become an error, wrong input is raised."""
    try:
        return Result(unit, future.result())
    except UserError:
        raise
    except FutureTimeoutError:
        return Result(unit, None, "the run outlasted its time limit")
    except ProcessExpired as fault:
        return Result(unit, None, f"the worker died (exit code {fault.exitcode})")
    except Exception as fault:
        return Result(unit, None, f"{type(fault).__name__}: {fault}")


def _give_up(result: Result) -> Result:
    unit = result.unit
    card = registry.card(unit.slug)
    record = new_record(
        card, unit.profile, unit.arm, unit.seed, unit.config, unit.key, unit.device, unit.precision, unit.code,
        {}, 0.0, result.error,
    )  # fmt: skip
    write_record(record)
    return replace(result, record=record)
