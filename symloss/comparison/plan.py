"""Plan: the tasks, methods, seeds and protocol of a comparison, checked, and the cells that they make."""

from __future__ import annotations

import difflib
import hashlib
import json
import numbers
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from symloss.discovery.guesses import listed
from symloss.discovery.methods import METHODS
from symloss.discovery.settings import Settings
from symloss.errors import EvaluationError, TaskError
from symloss.evaluation.protocol import Protocol, check_count
from symloss.losses import catalogue
from symloss.tasks import load_task, registry
from symloss.tasks.task import Task

SEARCH, CATALOGUE, LOSS, TUNED, UNTUNED = "search", "catalogue", "loss", "tuned", "untuned"
"""What a method is: a search; the best of the catalogue by validation data; a named loss; the task loss."""
PROTOCOL = tuple(f.name for f in fields(Protocol) if f.name not in ("seeds", "tune_lr", "seed"))
"""The options of training and tuning that a comparison takes beside `training_seeds`."""
_TRAINING = ("steps", "batch_size")  # what a task may have for itself
_LONGEST = 60


@dataclass(frozen=True)
class Choice:
    """A task of the comparison.

    Args:
        label: What tables call it.
        definition: What defines it, as plain values: the arguments of `load_task`, or name and identity.
        own: The task, if it was given as one.
        budget: Settings of the searches on it.
        training: Its own steps and batch size, where they are not those of the protocol.
    """

    label: str
    definition: dict[str, Any] = field(hash=False)
    own: Task | None = field(default=None, compare=False)
    budget: dict[str, Any] = field(default_factory=dict, hash=False)
    training: dict[str, Any] = field(default_factory=dict, hash=False)

    def load(self) -> Task:
        """The task, with its data.

        Raises:
            TaskError: If it cannot be loaded, or has no test data.
        """
        task = load_task(**_tuples(self.definition)) if self.own is None else self.own
        if task.test is None:
            raise TaskError(f"task {self.label!r} has no test data, on which methods are compared; give test=(X, y)")
        return task


@dataclass(frozen=True)
class Method:
    """A way to arrive at a loss.

    Args:
        label: What tables call it.
        kind: `"search"`, `"catalogue"`, `"loss"`, `"tuned"` or `"untuned"`.
        name: Of the search method or the loss.
        settings: Its own: of the search and its `guesses`, of the loss, or `losses` of the catalogue.
    """

    label: str
    kind: str
    name: str
    settings: dict[str, Any] = field(hash=False)


REFERENCES = (
    Method("task loss, tuned", TUNED, "task-loss", {}),
    Method("task loss, untuned", UNTUNED, "task-loss", {}),
)
"""Cross-entropy (mean squared error for regression), which always runs."""


@dataclass(frozen=True)
class Cell:
    """One task, method and, for a search, seed: what is computed and stored as one.

    Args:
        task: Label of the task.
        method: The method.
        seed: Search seed; None where nothing is searched.
        definition: All that its numbers depend on, as plain values.
    """

    task: str
    method: Method
    seed: int | None
    definition: dict[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """A name for its file, which depends on the definition alone."""
        return self._name(self.definition)

    @property
    def search_name(self) -> str:
        """A name for the directory of its search, which does not depend on how the loss is evaluated afterwards."""
        return self._name({key: value for key, value in self.definition.items() if key != "protocol"})

    def __str__(self) -> str:
        return f"{self.task}, {self.method.label}" + ("" if self.seed is None else f", search seed {self.seed}")

    def _name(self, definition: dict[str, Any]) -> str:
        digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:12]
        words = (definition["task"]["name"], self.method.kind, self.method.name, "" if self.seed is None else self.seed)
        plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in "-".join(str(w) for w in words if w != ""))
        return f"{plain[:60]}-{digest}"


@dataclass(frozen=True)
class Plan:
    """What is compared; `plan` makes one.

    Args:
        tasks: The tasks.
        methods: The methods, the references last.
        seeds: Search seeds.
        protocol: How every loss is tuned and measured, the same for all.
        budget: Settings of every search, overruled by those of a task, and these by those of a method.
    """

    tasks: tuple[Choice, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    budget: dict[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, the references first, then one search seed after the other, so that an early end is balanced."""
        once = [m for m in (*REFERENCES, *self.methods[: -len(REFERENCES)]) if m.kind != SEARCH]
        searches = [m for m in self.methods if m.kind == SEARCH]
        found = [self._cell(choice, method, None) for choice in self.tasks for method in once]
        found += [self._cell(choice, m, seed) for seed in self.seeds for choice in self.tasks for m in searches]
        return tuple(found)

    def _cell(self, choice: Choice, method: Method, seed: int | None) -> Cell:
        p = self.protocol
        protocol = {name: getattr(p, name) for name in PROTOCOL if name != "rates"}
        protocol |= {"training_seeds": p.seeds, "rates": list(p.grid), **choice.training}
        shared = {**self.budget, **choice.budget} if method.kind == SEARCH else {}
        own = {"kind": method.kind, "name": method.name, "settings": {**shared, **method.settings}}
        definition = {"task": choice.definition, "method": own, "seed": seed, "protocol": protocol}
        return Cell(choice.label, method, seed, json.loads(json.dumps(definition)))


def plan(
    tasks: Any,
    methods: Any,
    *,
    seeds: int | Sequence[int] = 5,
    budget: Mapping[str, Any] | None = None,
    training_seeds: int = 10,
    **protocol: Any,
) -> Plan:
    """Check what is asked for; see `compare` for the arguments.

    Raises:
        EvaluationError: If a task, method, seed or option cannot be used.
        SearchError: If a setting of a search cannot be.
        LossError: If a parameter of a loss cannot be.
    """
    _check_known("option", protocol, PROTOCOL)
    check_count("training_seeds", training_seeds)
    measured = Protocol(seeds=training_seeds, **{"steps": 500, **protocol})
    choices = [_choice(entry) for entry in _listed("task", tasks, Task)]
    shared = dict(budget or {})
    _check_search("budget", shared)
    ways = [_method(entry) for entry in _listed("method", methods, ())]
    _check_labels("tasks", [(c.label, c.definition) for c in choices])
    _check_labels("methods", [(m.label, (m.kind, m.name, m.settings)) for m in (*ways, *REFERENCES)])
    return Plan(tuple(choices), (*ways, *REFERENCES), _seeds(seeds), measured, json.loads(json.dumps(shared)))


def _listed(what: str, given: Any, single: Any) -> list[Any]:
    """One or several entries as a list."""
    one = isinstance(given, (str, Mapping)) or (single and isinstance(given, single)) or not isinstance(given, Iterable)
    found = [given] if one else list(given)
    if not found:
        raise EvaluationError(f"there is no {what} to compare; give at least one")
    return found


def _choice(given: Any) -> Choice:
    if isinstance(given, Task):
        return Choice(given.name, {"name": given.name, "identity": given.identity()}, given)
    label, options = _labelled("task", given, "digits")
    budget = options.pop("budget", {})
    if not isinstance(budget, dict):
        raise EvaluationError(f"the budget of task {label!r} is a table of search settings; received {budget!r:.80}")
    _check_search(f"the budget of task {label!r}", budget)
    training = {name: options.pop(name) for name in _TRAINING if name in options}
    Protocol(**training)  # bad values end it here
    return Choice(label, options, budget=budget, training=training)


def _method(given: Any) -> Method:
    label, options = _labelled("method", given, "evomal")
    name = options.pop("name")
    if name in METHODS:
        listed(options.get("guesses", ()))  # bad ones end it here
        _check_search(f"method {label!r}", without_guesses(options))
        return Method(label, SEARCH, name, options)
    if name == CATALOGUE:
        _check_known(f"setting of method {label!r}", options, ("losses",))
        members = options.get("losses", list(catalogue.names()))
        named = isinstance(members, list) and all(isinstance(m, str) and catalogue.find(m) for m in members)
        if not members or not named:
            raise EvaluationError(f"losses of method {label!r} is a list of named losses; received {members!r:.80}")
        return Method(label, CATALOGUE, name, options)
    known = catalogue.find(name) if isinstance(name, str) else None
    if known is None:
        raise EvaluationError(
            f"unknown method {name!r:.80}; {_hint(str(name), (*METHODS, CATALOGUE, *catalogue.names()))}"
        )
    catalogue.get(known, **options)  # bad parameters end it here
    return Method(label, LOSS, known, options)


def _labelled(what: str, given: Any, example: str) -> tuple[str, dict[str, Any]]:
    """The label of an entry, and its options as plain values."""
    if isinstance(given, str):
        return os.path.basename(given), {"name": given}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise EvaluationError(
            f"a {what} is a name or a table with one, such as name = {example!r}; received {given!r:.80}"
        )
    options = {key: value for key, value in given.items() if key != "label"}
    try:
        plain = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError):
        hint = "; give a Task" if what == "task" else ""
        raise EvaluationError(
            f"the options of a {what} are texts, numbers and lists; received {given!r:.80}{hint}"
        ) from None
    words = [f"{key}={value}" for key, value in options.items() if key not in ("name", "root", "budget", *_TRAINING)]
    label = given.get("label", ", ".join([os.path.basename(options["name"]), *words]))
    if not isinstance(label, str):
        raise EvaluationError(f"the label of a {what} is a text; received {label!r:.80}")
    return label, plain


def _check_labels(what: str, entries: Sequence[tuple[str, Any]]) -> None:
    """Whether every entry can be told from the others, by its label and by what it is."""
    for place, (label, own) in enumerate(entries):
        if not label.strip() or not label.isprintable() or len(label) > _LONGEST:
            raise EvaluationError(
                f"a label is a line of 1 to {_LONGEST} characters; received {label!r:.80}; give one (label)"
            )
        for other, known in entries[:place]:
            if label == other:
                raise EvaluationError(f"two {what} are called {label!r}; give one of them another label")
            if own == known:
                raise EvaluationError(f"{other!r} and {label!r} are the same; leave one of them out")


def _check_search(where: str, settings: Mapping[str, Any]) -> None:
    if "seed" in settings:
        raise EvaluationError(f"{where} has a seed; the seeds of all searches are given by `seeds`")
    Settings.from_dict(dict(settings))


def without_guesses(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Settings` among the options of a search."""
    return {name: value for name, value in options.items() if name != "guesses"}


def _seeds(given: Any) -> tuple[int, ...]:
    """Search seeds from their number, or as they are."""
    whole = isinstance(given, numbers.Integral) and not isinstance(given, bool)
    found = tuple(range(int(given))) if whole else tuple(given) if isinstance(given, list | tuple | range) else ()
    good = all(isinstance(s, numbers.Integral) and not isinstance(s, bool) and 0 <= int(s) < 2**32 for s in found)
    if not found or not good or len(set(found)) < len(found):
        raise EvaluationError(
            f"seeds is a number of searches, or a list of different whole numbers; received {given!r:.80}"
        )
    return tuple(map(int, found))


def _check_known(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise EvaluationError(f"unknown {what} {name!r:.60}; known: {', '.join(known)}")


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name[:80], known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def absent(choice: Choice) -> bool:
    """Whether a task cannot be loaded because its data are not there, rather than for a mistake in its options."""
    if choice.own is not None:
        return False
    record = next((r for r in registry.describe() if r.name == choice.definition["name"]), None)
    if record is None:
        return False
    given = {option: choice.definition[option] for option in ("root", "image_size") if option in choice.definition}
    try:
        record.load(**given)
    except TaskError:
        return True
    return False


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arguments of `plan` from a TOML file: tables `[[tasks]]`, `[[methods]]` and `[budget]`, and the options.

    Raises:
        EvaluationError: If it cannot be read, or has a key that is none of them.
    """
    import tomllib

    try:
        with open(path, "rb") as file:
            options = tomllib.load(file)
    except OSError as error:
        raise EvaluationError(f"cannot read {os.fspath(path)!r}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{os.fspath(path)!r} is not TOML: {' '.join(str(error).split()):.200}") from None
    known = ("tasks", "methods", "budget", "seeds", "training_seeds", *PROTOCOL)
    _check_known(f"key in {os.fspath(path)!r}:", options, known)
    for name in ("tasks", "methods"):
        if name not in options:
            raise EvaluationError(f"{os.fspath(path)!r} has no {name}; add [[{name}]] with name = ...")
    if not isinstance(options.get("budget", {}), dict):
        raise EvaluationError(f"[budget] is a table of search settings; received {options['budget']!r:.80}")
    return options
