"""Spreading variants over processes that each hold the model, on one machine or a Ray cluster."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import torch
from tqdm.auto import tqdm

from decision_phases.engine.inputs import Inputs
from decision_phases.engine.local import plan_for, walk_all
from decision_phases.engine.observers import AnyObserver
from decision_phases.engine.plan import Plan
from decision_phases.engine.stored import Kept
from decision_phases.errors import DecisionPhasesError, InputError, MissingPackageError
from decision_phases.interventions import Intervention
from decision_phases.models import ModelAccess, as_model, load
from decision_phases.store import Packed

ATTEMPTS = 3  # times that one worker after the other may die over the same variants
CHUNKS = 8  # parts of the work for each worker, so that none is idle for long at the end
LARGEST = 32  # variants that a worker takes at once, and that are lost if it dies


class WorkersError(DecisionPhasesError):
    """Workers died again and again, or hold another model than the one that was asked for."""


class Worker:
    """One process with the model.

    Args:
        origin: Arguments of `load`.
        hf: The Hugging Face model, where there is no name to load it by.
        fingerprint: Of the weights that it must have.
        threads: Threads that torch computes with.
    """

    def __init__(self, origin: Mapping[str, Any], hf: Any, fingerprint: str, threads: int) -> None:
        torch.set_num_threads(threads)
        arguments = dict(origin) if hf is None else {**origin, "source": hf, "consume": True}
        self.model = load(**arguments, quiet=True)
        if self.model.fingerprint != fingerprint:
            msg = (
                f"workers loaded {self.model.name} with the weights {self.model.fingerprint}, not {fingerprint}: its "
                "weights were changed after loading; evaluate without workers, or save and load the changed model"
            )
            raise WorkersError(msg)
        self.job: tuple[int, Plan, Inputs, Sequence[AnyObserver]] | None = None

    def process(self) -> int:
        """Number of this process."""
        return os.getpid()

    def run(self, number: int, job: Mapping[str, Any], places: Sequence[int]) -> list[dict[str, Packed]]:
        """Evaluate some variants of a job.

        Args:
            number: Of the job; its plan is made once.
            job: Arguments of `plan_for`: inputs, variants, observe, memory_budget, max_tokens.
            places: Which of the variants.

        Returns:
            For each, observer's name → result.
        """
        if self.job is None or self.job[0] != number:
            self.job = (number, plan_for(self.model, **job), job["inputs"], job["observe"])
        _, plan, inputs, observe = self.job
        wanted = [plan.variants[place] for place in places]
        done: dict[Intervention, dict[str, Packed]] = {}
        for part in plan.parts(wanted):

            def keep(place: int, results: dict[str, Any], part: Plan = part) -> None:
                done[part.variants[place]] = {o.name: o.pack(results[o.name]) for o in observe}

            walk_all(self.model, inputs, part, observe, keep, progress=False)
        return [done[variant] for variant in wanted]


class Pool:
    """Workers that hold a model; see `workers`.

    Args:
        model: The model.
        n: Number of workers.
        address: Of a Ray cluster; None for this machine.
        threads: Threads of each worker.
        options: Of `ray.remote` for each worker, such as `num_gpus`.
    """

    def __init__(
        self, model: ModelAccess, n: int, address: str | None, threads: int, options: Mapping[str, Any]
    ) -> None:
        if n < 1 or threads < 1:
            msg = f"{n} workers of {threads} threads were asked for; at least 1 of each is needed"
            raise InputError(msg)
        self.model, self.n = model, n
        self.ray = _ray()
        self.owns = not self.ray.is_initialized()
        if self.owns:
            here = {"num_cpus": n * threads} if address is None else {"address": address}
            self.ray.init(
                **here,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=True,
            )
        gpus = {"num_gpus": 1} if model.device.type == "cuda" else {}
        self._made = self.ray.remote(**{"num_cpus": threads, **gpus, **options})(Worker)
        free, total = (
            of().get("CPU", 0) for of in (self.ray.available_resources, self.ray.cluster_resources)
        )
        if free < n * options.get("num_cpus", threads):
            msg = (
                f"{n} workers of {threads} threads were asked for, but Ray has {free:.0f} of {total:.0f} processors "
                "free; ask for fewer, or for num_cpus=0 to have them share"
            )
            raise InputError(msg)
        self._arguments = sent(model, self.ray.put, threads)
        self.actors: list[Any] = [self._start() for _ in range(n)]
        self._jobs = 0

    def _start(self) -> Any:
        return self._made.remote(*self._arguments)

    def close(self) -> None:
        """Stop the workers, and Ray if it was started for them."""
        for actor in self.actors:
            self.ray.kill(actor)
        if self.owns:
            self.ray.shutdown()

    def evaluate(
        self,
        kept: Kept,
        plan: Plan,
        missing: Sequence[Intervention],
        job: Mapping[str, Any],
        *,
        progress: bool,
    ) -> None:
        """Have variants evaluated, keeping each in the store as it comes back.

        Args:
            kept: Where results go: the one source of truth.
            plan: How everything would be run here.
            missing: The variants that are not there yet.
            job: Arguments of `plan_for`.
            progress: Show a bar.

        Raises:
            WorkersError: If workers die over the same variants again and again.
        """
        self._jobs += 1
        shared = self.ray.put(dict(job))
        place = {variant: i for i, variant in enumerate(plan.variants)}
        order = plan.order(missing)
        size = max(1, min(LARGEST, len(order) // (CHUNKS * self.n)))
        left = deque((order[i : i + size], 1) for i in range(0, len(order), size))
        idle, busy = deque(range(self.n)), dict[Any, tuple[int, list[Intervention], int]]()
        with tqdm(total=len(order), disable=not progress, desc=f"variants, {self.n} workers") as bar:
            while left or busy:
                while left and idle:
                    chunk, attempt = left.popleft()
                    worker = idle.popleft()
                    call = self.actors[worker].run.remote(self._jobs, shared, [place[v] for v in chunk])
                    busy[call] = (worker, chunk, attempt)
                (call,), _ = self.ray.wait(list(busy), num_returns=1)
                worker, chunk, attempt = busy.pop(call)
                idle.append(worker)
                try:
                    results = self.ray.get(call)
                except self.ray.exceptions.RayActorError as error:
                    if attempt == ATTEMPTS:
                        msg = f"{ATTEMPTS} workers died over {chunk[0]} and {len(chunk) - 1} more; the last: {error}"
                        raise WorkersError(msg) from error
                    self.actors[worker] = self._start()
                    left.append((chunk, attempt + 1))
                    continue
                except self.ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                for variant, packed in zip(chunk, results, strict=True):
                    kept.put_packed(variant, packed)
                bar.update(len(chunk))


_CURRENT: ContextVar[Pool | None] = ContextVar("workers", default=None)


@contextmanager
def workers(
    model: object, n: int = 2, *, address: str | None = None, threads: int = 1, **options: Any
) -> Iterator[Pool]:
    """Evaluate on several workers within a `with` block, whatever function asks for it.

    Each worker is a process that loads the model and stays for the length of the block. Variants are handed out in
    small parts, in the order of the plan, so that what they share is still computed once a part; results come back to
    this process, which keeps them in the store, the one source of truth. A worker that dies is replaced, and what it
    was at is done again. A single variant is not spread.

    Args:
        model: What `load` gives or takes.
        n: Number of workers.
        address: Of a Ray cluster ("auto", "ray://head:10001"), where this package and the model must be installed; None
            for workers on this machine.
        threads: Threads of each worker; the numbers agree with those of another number of threads up to rounding.
        **options: Of `ray.remote` for each worker: `num_gpus`, `resources`.

    Yields:
        The workers.

    Raises:
        MissingPackageError: If Ray is not installed.
        InputError: If the model cannot be made again elsewhere.
        WorkersError: If its weights were changed after loading.

    Example:
        >>> import decision_phases as dp
        >>> model = dp.load("tiny-gpt2", quiet=True)
        >>> with dp.workers(model, 2):  # doctest: +SKIP
        ...     curves = dp.prune(model, "facts", up_to=3)
    """
    pool = Pool(as_model(model), n, address, threads, options)
    token = _CURRENT.set(pool)
    try:
        yield pool
    finally:
        _CURRENT.reset(token)
        pool.close()


def current_pool(model: ModelAccess) -> Pool | None:
    """The workers of the `with` block around, if they hold this model.

    Args:
        model: The model.

    Returns:
        The workers, or None.
    """
    pool = _CURRENT.get()
    return pool if pool is not None and pool.model is model else None


def sent(model: ModelAccess, put: Callable[[Any], Any], threads: int) -> tuple[dict[str, Any], Any, str, int]:
    """What a worker is made from.

    Args:
        model: The model.
        put: Makes a large object available to all workers.
        threads: Threads of each worker.

    Returns:
        Arguments of `Worker`; a model that came as an object goes along as a Hugging Face model.

    Raises:
        InputError: If it can be made again in neither way.
    """
    if model.origin:
        return dict(model.origin), None, model.fingerprint, threads
    origin = {
        "backend": "hooked" if model.kind == "HookedTransformer" else "bridge",
        "dtype": model.dtype,
        "device": model.device.type,
        "tokenizer": model.tokenizer,
    }
    return origin, put(model.fresh_hf()), model.fingerprint, threads


def _ray() -> Any:
    # Under `uv run`, Ray would pack the working directory and call uv again in every worker.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else everything else on the machine goes first
    try:
        return import_module("ray")
    except ImportError as error:
        msg = "workers need the package ray; install it with: pip install 'decision-phases[ray]'"
        raise MissingPackageError(msg) from error
