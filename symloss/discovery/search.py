"""Search: the loop. Propose, judge, remember; generation after generation, resumable after each."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

from numpy.random import RandomState

from symloss.discovery import evolution
from symloss.discovery.archive import STAGES, Archive, Candidate
from symloss.discovery.evolution import Individual
from symloss.discovery.executor import Executor, deaf_to_interrupts, split
from symloss.discovery.methods import METHODS
from symloss.discovery.proposal import Proposal, Request
from symloss.discovery.record import Checkpoint, Generation, RunConfig
from symloss.discovery.result import GenerationEvent, SearchResult
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.stages import Outcome, Stages
from symloss.errors import SearchError
from symloss.expression.expression import Expression
from symloss.tasks.task import Task

INITIAL_DRAWS = 20
"""Initial populations that are drawn, while all of each is rejected, before a search gives up."""
SCREENED_TOGETHER = 128
"""Most candidates that go through the rejection protocol at once."""

Callback = Callable[[GenerationEvent], object]


def _digest(text: str | None) -> str:
    return hashlib.blake2b((text or "").encode(), digest_size=12).hexdigest()


class _TimeLimit(Exception):  # noqa: N818 (it is no error)
    pass


@dataclass(eq=False)
class _Entry:
    """A proposal on its way through a generation; `member` is what has become of it."""

    id: int
    proposal: Proposal
    fingerprint: str | None = None
    member: Individual | None = None


class Search:
    """A search: what a checkpoint holds, and the loop that goes on from there.

    Args:
        task: What losses are tried on.
        config: What defines the search.
        executor: Where chunks are computed.
        callbacks: Called with a `GenerationEvent` after each generation; `KeyboardInterrupt` from one stops the search.
        directory: Where the run is kept, if it is.
        functions: The functions that judge candidates; None: those of the method.
    """

    def __init__(
        self,
        task: Task,
        config: RunConfig,
        executor: Executor,
        callbacks: Iterable[Callback] = (),
        directory: RunDirectory | None = None,
        functions: Stages | None = None,
    ) -> None:
        self.task, self.config, self.settings = task, config, config.settings
        self.executor, self.callbacks, self.directory = executor, tuple(callbacks), directory
        method = METHODS[config.method]
        self.functions, self.method = functions or method.stages, method.start()
        self.rng = RandomState(self.settings.seed)
        self.archive = Archive()
        self.saved = Checkpoint(random=evolution.state_to_json(self.rng))
        self._seconds: dict[str, float] = {}
        self._started = self._before = 0.0

    def restore(self, saved: Checkpoint, candidates: Iterable[Candidate]) -> None:
        """Go back to a checkpoint, with the candidates that it counts."""
        self.rng = evolution.state_from_json(saved.random)
        self.archive = Archive(candidates)
        self.saved = replace(saved, stopped="")

    def run(self) -> SearchResult:
        """Advance until there is a reason to stop. Ctrl-C is one: what was found by then is kept and returned."""
        self._started, self._before = perf_counter(), self.saved.seconds
        try:
            with self.executor:
                stopped = self._loop()
        except KeyboardInterrupt:
            stopped = "interrupted"
        except _TimeLimit:
            stopped = "time limit reached"
        with deaf_to_interrupts():  # impatience must not cost what was found
            try:
                self._finish(stopped)
            except KeyboardInterrupt:  # arrived a moment before
                self._finish(stopped)
        return SearchResult(
            config=self.config,
            candidates=tuple(self.archive.candidates),
            history=self.saved.history,
            stopped=stopped,
            seconds=self.saved.seconds,
            learning_rate=self.saved.learning_rate,
            versions=self.saved.versions,
            directory=self.directory.path if self.directory else None,
        )

    def _loop(self) -> str:
        self._set_learning_rate()
        while True:
            best, target = self.archive.best, self.settings.target_fitness
            if best is not None and target is not None and best.fitness <= target:
                return "target fitness reached"
            if len(self.saved.history) >= self.settings.generations:
                return "all generations done"
            self._heed_time()
            self._commit(self._generation())

    def _generation(self) -> tuple[Individual, ...]:
        """The next population. The first one is drawn again while all of it is rejected."""
        self._next = len(self.archive.candidates)
        guesses = self.config.guesses
        for _ in range(INITIAL_DRAWS):
            population = self._judge(self._proposals(guesses))
            if self.saved.population or any(math.isfinite(member.fitness) for member in population):
                return population
            guesses = ()
        if self.directory is not None:
            self.directory.append(self.archive.sort_from(0))
        raise SearchError(
            f"all {len(self.archive.candidates)} candidates of {INITIAL_DRAWS} initial populations were rejected or "
            "diverged; raise population_size, change learning_rate, or start from a known loss with guesses=[...]"
        )

    def _proposals(self, guesses: Sequence[Expression] = ()) -> list[Proposal]:
        with self._timed("propose"):
            return self.method(
                Request(self.settings, self.rng, self.saved.population, self.archive.candidates, guesses)
            )

    def _judge(self, proposals: list[Proposal]) -> tuple[Individual, ...]:
        """Fingerprint, screen, develop. What is known, and twins of what is, keep the fitness that they have."""
        places = [_Entry(-1, proposal, member=proposal.known) for proposal in proposals]
        seen: dict[str, int] = {}
        pending, twins = self._unseen([entry for entry in places if entry.member is None], seen)
        for _ in range(self.settings.redraws):
            stale = [n for n, e in enumerate(places) if e in twins or (e.member and not e.proposal.known)]
            if not stale:
                break
            drawn = self._proposals()
            fresh = [_Entry(-1, proposal) for proposal in drawn if proposal.known is None][: len(stale)]
            for place, entry in zip(stale, fresh, strict=False):
                places[place] = entry
            more, again = self._unseen(fresh, seen)
            pending, twins = pending + more, twins + again
        self._develop(self._screened(pending))
        for entry in twins:
            self._copy_twin(entry)
        return tuple(entry.member for entry in places if entry.member is not None)

    def _unseen(self, entries: list[_Entry], smallest: dict[str, int]) -> tuple[list[_Entry], list[_Entry]]:
        """Entries to judge, and those whose twin is archived or stands before them in this generation.

        `smallest` holds the nodes of the smallest twin that is to be judged in this generation, and is kept up.
        """
        with self._timed("fingerprint"):
            found = self.functions.fingerprints([entry.proposal.expression for entry in entries], self.task.kind)
        pending, twins = [], []
        for entry, text in zip(entries, found, strict=True):
            entry.id = self._next
            self._next += 1
            size = entry.proposal.expression.size
            if text is None and not entry.proposal.exempt:
                reason = "the gradient is zero everywhere, or not finite somewhere"
                self._record(entry, Outcome(entry.proposal.expression, "zero gradient", reason, math.inf, 0.0))
                continue
            key = _digest(text)
            entry.fingerprint = None if text is None else key
            if not entry.proposal.exempt and (smallest.get(key, math.inf) <= size or self.archive.twin(key, size)):
                twins.append(entry)
            else:
                pending.append(entry)
                smallest[key] = min(size, smallest.get(key, size))
        return pending, twins

    def _screened(self, entries: list[_Entry]) -> list[_Entry]:
        """Entries that pass the rejection protocol, and those that are taken as they are."""
        asked = [entry for entry in entries if entry.proposal.refine or not entry.proposal.exempt]
        expressions = [entry.proposal.expression for entry in asked]
        work = [(expressions[part],) for part in split(len(asked), SCREENED_TOGETHER)]
        with self._timed("screen"), closing(self.executor.map(self.functions.screen, self.settings, work)) as done:
            passed = [good for chunk in done for good in chunk]
        reason = "minimising the loss over the predictions does not improve the task metric"
        for entry, good in zip(asked, passed, strict=True):
            if not good:
                self._record(entry, Outcome(entry.proposal.expression, "rejected", reason, math.inf, 0.0))
        return [entry for entry in entries if entry.member is None]

    def _develop(self, entries: list[_Entry]) -> None:
        """Refinement and fitness, chunk by chunk; each is archived as soon as it is done."""
        chunks = [entries[part] for part in split(len(entries), self.settings.chunk_size)]
        work = [([e.proposal.expression for e in chunk], [e.proposal.refine for e in chunk]) for chunk in chunks]
        with self._timed("develop"), closing(self.executor.map(self.functions.develop, self.settings, work)) as done:
            for number, (chunk, outcomes) in enumerate(zip(chunks, done, strict=True)):
                if number:
                    self._heed_time()
                for entry, outcome in zip(chunk, outcomes, strict=True):
                    self._record(entry, outcome)

    def _copy_twin(self, entry: _Entry) -> None:
        """Reuse what is known of a twin: its fitness, and its refined expression where it has one."""
        own = entry.proposal.expression
        twin = self.archive.twin(entry.fingerprint or "", own.size)
        assert twin is not None, "a twin is archived before it is copied"
        reason = f"duplicate of #{twin.id} ({twin.stage})"
        self._record(entry, Outcome(own, "duplicate", reason, twin.fitness, 0.0, twin.scale), twin.id)
        if math.isfinite(twin.fitness):
            entry.member = Individual(twin.expression, twin.fitness)

    def _record(self, entry: _Entry, outcome: Outcome, duplicate_of: int | None = None) -> None:
        candidate = Candidate(
            id=entry.id,
            generation=len(self.saved.history),
            expression=outcome.expression,
            kind=self.task.kind,
            stage=outcome.stage,
            reason=outcome.reason,
            fitness=outcome.fitness,
            seconds=outcome.seconds,
            fingerprint=entry.fingerprint,
            duplicate_of=duplicate_of,
            scale=outcome.scale,
        )
        self.archive.add(candidate)
        entry.member = Individual(candidate.expression, candidate.fitness)

    def _commit(self, population: tuple[Individual, ...]) -> None:
        """Save a generation, then tell of it. The checkpoint comes last: it never counts what is not on disk."""
        new, best = self.archive.sort_from(self.saved.candidates), self.archive.best
        counts = Counter(candidate.stage for candidate in new)
        generation = Generation(
            number=len(self.saved.history),
            best=best.fitness if best else math.inf,
            median=median([m.fitness for m in population if math.isfinite(m.fitness)] or [math.inf]),
            counts={stage: counts[stage] for stage in STAGES},
            seconds=dict(self._seconds),
        )
        saved = replace(
            self.saved,
            candidates=len(self.archive.candidates),
            population=population,
            random=evolution.state_to_json(self.rng),
            history=(*self.saved.history, generation),
            seconds=self._elapsed(),
        )
        event = GenerationEvent(
            generation, self.settings.generations, best, tuple(self.archive.front), saved.seconds, self.task.metric_name
        )
        self._write(new, saved, str(event))
        self.saved = saved
        self._seconds.clear()
        for callback in self.callbacks:
            callback(event)

    def _finish(self, stopped: str) -> None:
        """Save also what a generation that was cut off has found; resuming computes that generation anew."""
        new = self.archive.sort_from(self.saved.candidates)
        self.saved = replace(self.saved, stopped=stopped, seconds=self._elapsed())
        if self.directory is not None:
            self.directory.truncate(self.saved.candidates)
        self._write(new, self.saved, f"stopped: {stopped}")

    def _write(self, new: list[Candidate], saved: Checkpoint, line: str) -> None:
        if self.directory is None:
            return
        best = self.archive.best
        self.directory.append(new)
        notes = {
            "task": self.task.name, "metric": self.task.metric_name, "fitness": best.fitness, "candidate": best.id,
            "learning_rate": saved.learning_rate, "scale": best.scale,
        } if best else {}  # fmt: skip
        self.directory.write_front(self.archive.front, best, notes)
        self.directory.write_checkpoint(saved)
        self.directory.log(line)

    def _set_learning_rate(self) -> None:
        """With `scale_free`, tune the base rate for the task loss, once per run."""
        if self.settings.scale_free:
            rate = self.saved.learning_rate or self.functions.tuned_rate(self.task, self.settings)
            self.settings = replace(self.settings, learning_rate=rate)
        self.saved = replace(self.saved, learning_rate=self.settings.learning_rate)

    def _heed_time(self) -> None:
        limit = self.settings.time_limit
        if limit is not None and perf_counter() - self._started >= limit:
            raise _TimeLimit

    def _elapsed(self) -> float:
        return self._before + perf_counter() - self._started

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + perf_counter() - start
