"""Requests that come at the same time share one call of the model."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import NamedTuple, final

import numpy as np

from examples.serving.limits import Limits

Tensors = dict[str, np.ndarray]


class Job(NamedTuple):
    """What one request asks for. Jobs of one key may be joined, row by row."""

    key: Hashable
    inputs: Tensors
    rows: int | None  # None: alone
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future


@final
class Batcher:
    """One thread that calls `run(key, inputs)` with the rows of all requests that have gathered.

    Clients that are answered together ask again together, though not at the same instant. So a
    batch waits, for `patience` seconds at most, until as many requests are there as a moment ago.
    One client alone never waits. If a call fails, its halves are tried: a bad row fails alone.

    Args:
        run: Gives the outputs for some inputs, with as many rows.
        limits: Of which `rows` and `waiting` count here.
        patience: In seconds.
    """

    def __init__(
        self, run: Callable[[Hashable, Tensors], Tensors], limits: Limits, patience: float = 0.01
    ):
        self.run, self.limits, self.patience = run, limits, patience
        self.jobs: deque[Job] = deque()
        self.changed = threading.Condition()
        self.awaited = 1  # how many jobs the thread waits for
        self.closed = False
        self.thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self.thread.start()

    async def __call__(self, key: Hashable, inputs: Tensors, rows: int | None) -> Tensors:
        loop = asyncio.get_running_loop()
        job = Job(key, inputs, rows, loop, loop.create_future())
        with self.changed:
            self.limits.check_waiting(len(self.jobs))
            self.jobs.append(job)
            if len(self.jobs) >= self.awaited:
                self.changed.notify()
        return await job.answer

    def close(self) -> None:
        """Ends the thread after the batch that it is at; what waits is not answered."""
        with self.changed:
            self.closed = True
            self.changed.notify()
        self.thread.join()

    def _work(self) -> None:
        batch: list[Job] = []
        while batch := self._gather(len(batch)):
            answers = self._answers(batch)
            for job, answer in zip(batch, answers, strict=True):
                with contextlib.suppress(RuntimeError):  # the server ends, and its loop has ended
                    job.loop.call_soon_threadsafe(_settle, job.answer, answer)

    def _gather(self, answered: int) -> list[Job]:
        """The next batch, after one of `answered` jobs; [] at the end."""
        with self.changed:
            expected = answered + len(self.jobs)
            self._wait(1)
            self._wait(min(expected, self.limits.rows), self.patience)
            self.awaited = 1
            return [] if self.closed else self._take()

    def _wait(self, count: int, seconds: float | None = None) -> None:
        self.awaited = count
        self.changed.wait_for(lambda: self.closed or len(self.jobs) >= count, seconds)

    def _take(self) -> list[Job]:
        """The first job, and those behind it that can be joined with it."""
        first = self.jobs.popleft()
        batch, rest, rows = [first], [], first.rows
        for job in self.jobs:
            fits = rows is not None and job.rows is not None and job.key == first.key
            if fits and rows + job.rows <= self.limits.rows:
                batch.append(job)
                rows += job.rows
            else:
                rest.append(job)
        self.jobs = deque(rest)
        return batch

    def _answers(self, batch: list[Job]) -> list[Tensors | Exception]:
        """What each job gets: its rows of the outputs, or what is wrong with it."""
        try:
            return self._run(batch)
        except Exception as error:  # of any kind: it belongs to a request, not to this thread
            half = len(batch) // 2
            if not half:
                return [error]
            return self._answers(batch[:half]) + self._answers(batch[half:])

    def _run(self, batch: list[Job]) -> list[Tensors]:
        first = batch[0]
        if len(batch) == 1:
            return [self.run(first.key, first.inputs)]
        inputs = {
            name: np.concatenate([job.inputs[name] for job in batch]) for name in first.inputs
        }
        outputs = self.run(first.key, inputs)
        ends = np.cumsum([job.rows for job in batch])
        for name, value in outputs.items():
            if len(value) != ends[-1]:
                raise ValueError(f"'{name}' has {len(value)} rows for inputs of {ends[-1]}")
        parts = {name: np.split(value, ends[:-1]) for name, value in outputs.items()}
        return [{name: parts[name][i] for name in parts} for i in range(len(batch))]


def _settle(answer: asyncio.Future, value: Tensors | Exception) -> None:
    if answer.done():  # the request was given up
        return
    if isinstance(value, Exception):
        answer.set_exception(value)
    else:
        answer.set_result(value)
