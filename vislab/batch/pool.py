"""Running many units on this machine: a pebble pool forked from a parent that has torch loaded."""

import contextlib
import faulthandler
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from pebble import ProcessExpired, ProcessPool

from vislab import registry
from vislab.engine.records import Record, new_record, runs_folder, write_record
from vislab.engine.run import COMPARE, Unit, execute, prepare, prepared_path
from vislab.errors import UserError

RUN_BYTES = 2 * 2**30
"""Memory that a run on the CPU is expected to need at most."""
POISONED = 75
"""Exit code of a worker whose memory or CUDA context a run has used up."""
_MEMORY_OR_CUDA = ("MemoryError", "OutOfMemoryError", "can't allocate memory", "CUDA error", "CUDNN_STATUS")
_LATE = "not started: the time budget was used up"


@dataclass(frozen=True)
class Result:
    """What became of a unit; `record` is None when it was not started in time, or was refused for wrong input."""

    unit: Unit
    record: Record | None
    error: str = ""
    refused: bool = False


def work(unit: Unit, fresh: bool = False, debug: bool = False) -> Record:
    """Run one unit in this process."""
    return execute(unit, registry.card(unit.slug), registry.module(unit.slug, "experiment"), fresh, debug)


def log_path(unit: Unit) -> Path:
    """Where everything lies that a run has printed."""
    return runs_folder() / unit.slug / "logs" / f"{unit.profile}-{unit.arm}-{unit.seed}-{unit.key[:8]}.log"


def last_lines(unit: Unit, count: int = 8) -> str:
    """The end of a run's log, or nothing."""
    try:
        return "\n".join(log_path(unit).read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""


@contextlib.contextmanager
def logged(unit: Unit) -> Iterator[None]:
    """What this process and its libraries print goes to the run's log instead of the terminal."""
    path = log_path(unit)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "wb")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    with file:
        for number, _ in kept:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, copy in kept:
            os.dup2(copy, number)
            os.close(copy)


def logged_work(unit: Unit, fresh: bool = False, last: bool = True, gpu: int | None = None) -> Record:
    """As `work`, with a log and on GPU number `gpu`; unless it is the `last` try, the process ends after running out of memory."""
    with logged(unit):
        if gpu is not None:
            import torch

            torch.cuda.set_device(gpu)
        record = work(unit, fresh)
        if record.error:
            print(record.error, file=sys.stderr)
    if not last and any(sign in record.error for sign in _MEMORY_OR_CUDA):
        os._exit(POISONED)
    return record


def _prepare(unit: Unit) -> None:
    prepare(unit, registry.module(unit.slug, "experiment"))


def _start_worker() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    faulthandler.enable(file=2)
    if "torch" in sys.modules:  # the parent has loaded it, except for a paper that needs none
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def workers(jobs: int = 0, cuda: bool = False, per_gpu: int = 1) -> int:
    """Runs side by side: `jobs`; with 0, one a core as far as memory goes; on CUDA never more than `per_gpu` a GPU."""
    if cuda:
        import torch

        slots = per_gpu * torch.cuda.device_count()
        return min(jobs, slots) if jobs else slots
    fit = int(psutil.virtual_memory().available // RUN_BYTES)
    return jobs or max(1, min(len(os.sched_getaffinity(0)), fit))


def run_all(
    wanted: Sequence[Unit],
    jobs: int = 0,
    fresh: bool = False,
    time_budget: float | None = None,
    run_timeout: float | None = None,
    report: Callable[[Result, int, int], None] = lambda result, done, total: None,
    begun: Callable[[Unit], None] = lambda unit: None,
    per_gpu: int = 1,
) -> list[Result]:
    """Run `wanted`: prepared parts first, then the arms `workers` at a time, then each comparison by itself.

    A run that crashes, runs out of memory, breaks its CUDA context or outlasts `run_timeout` seconds is tried once more, alone
    in a fresh process, and then recorded as failed; the others go on.
    A run with wrong input (a data set that is not there) is refused, with nothing recorded.
    After `time_budget` seconds nothing new is started; what is missing has `record=None`.
    """
    begin = time.monotonic()
    results: list[Result] = []

    def late() -> bool:
        return time_budget is not None and time.monotonic() - begin > time_budget

    def finish(result: Result) -> None:
        results.append(result)
        report(result, len(results), len(wanted))

    cuda = any(u.device == "cuda" for u in wanted)
    count = workers(jobs, cuda, per_gpu)
    slots: list[int | None] = [k % (count // per_gpu or 1) for k in range(count)] if cuda else [None] * count
    context = multiprocessing.get_context("spawn" if cuda else "fork")
    arms = [u for u in wanted if u.arm != COMPARE]
    alone: list[Unit] = []

    pool = ProcessPool(max_workers=count, context=context, initializer=_start_worker)
    try:
        preparing = {path: u for u in arms if (path := _prepared(u)) is not None and not path.exists()}
        # what goes wrong here goes wrong again in the arms, and is reported there
        wait([pool.schedule(_prepare, args=(u,), timeout=run_timeout) for u in preparing.values()])
        waiting, running = list(arms), {}
        while waiting or running:
            while waiting and slots and not late():
                unit, slot = waiting.pop(0), slots.pop()
                begun(unit)
                running[pool.schedule(logged_work, args=(unit, fresh, False, slot), timeout=run_timeout)] = unit, slot
            if not running:
                break
            for future in wait(running, return_when="FIRST_COMPLETED")[0]:
                unit, slot = running.pop(future)
                slots.append(slot)
                result = _result(unit, future)
                if result.record is None and not result.refused:
                    alone.append(unit)
                else:
                    finish(result)
        for unit in waiting:
            finish(Result(unit, None, _LATE))
    except BaseException:
        pool.stop()
        pool.join()
        raise
    pool.close()
    pool.join()

    for unit in [*alone, *(u for u in wanted if u.arm == COMPARE)]:
        if late():
            finish(Result(unit, None, _LATE))
        else:
            begun(unit)
            finish(_alone(unit, fresh, run_timeout, context, 0 if cuda else None))
    return results


def _alone(unit: Unit, fresh: bool, run_timeout: float | None, context, gpu: int | None) -> Result:
    """Run a unit in a process of its own with nothing beside it; recorded as failed where that process dies or hangs."""
    pool = ProcessPool(max_workers=1, context=context, initializer=_start_worker)
    try:
        result = _result(unit, pool.schedule(logged_work, args=(unit, fresh, True, gpu), timeout=run_timeout))
    finally:
        pool.stop()
        pool.join()
    return result if result.record is not None or result.refused else _give_up(result)


def _prepared(unit: Unit) -> Path | None:
    """Where the prepared part of `unit` lies, or None where its room has none."""
    experiment = registry.module(unit.slug, "experiment")
    return prepared_path(unit, experiment.PREPARE_FIELDS) if hasattr(experiment, "prepare") else None


def _result(unit: Unit, future: Future) -> Result:
    """The result of a finished future; wrong input, crashes and time-outs become an error."""
    try:
        return Result(unit, future.result())
    except UserError as error:
        return Result(unit, None, str(error), refused=True)
    except FutureTimeoutError:
        return Result(unit, None, "the run outlasted its time limit")
    except ProcessExpired as fault:
        return Result(unit, None, f"the worker died (exit code {fault.exitcode})")
    except Exception as fault:
        return Result(unit, None, f"{type(fault).__name__}: {fault}")


def _give_up(result: Result) -> Result:
    unit = result.unit
    card = registry.card(unit.slug)
    end = last_lines(unit)
    error = f"{result.error}, twice; the log ends:\n{end}" if end else f"{result.error}, twice"
    record = new_record(
        card, unit.profile, unit.arm, unit.seed, unit.config, unit.key, unit.device, unit.precision, unit.code,
        {}, 0.0, error,
    )  # fmt: skip
    write_record(record)
    return replace(result, record=record, error=error)
