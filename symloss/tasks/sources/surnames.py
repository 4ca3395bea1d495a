"""Surnames by country, from the lists that Faker ships."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from symloss.tasks.registry import register
from symloss.tasks.splits import Array
from symloss.tasks.text import encode

LENGTH, LEAST = 16, 200


def by_country() -> dict[str, list[str]]:
    """Names that one country alone has, of countries with at least 200 of them, in alphabetical order.

    Lists of whole languages (en, sw) belong to no country and are left out.
    """
    from faker.providers import person

    lists: dict[str, set[str]] = {}
    for module in pkgutil.iter_modules(person.__path__):
        _, underscore, country = module.name.partition("_")
        if underscore:
            provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
            own = [v for k, v in vars(provider).items() if ("last_" in k or "surname" in k) and not callable(v)]
            lists.setdefault(country, set()).update(name.strip() for values in own for name in _strings(values))
    owners = Counter(name for names in lists.values() for name in names)
    unique = {country: sorted(n for n in names if n and owners[n] == 1) for country, names in sorted(lists.items())}
    return {country: names for country, names in unique.items() if len(names) >= LEAST}


def _strings(values: Any) -> Iterator[str]:
    """All strings of nested sequences; the keys of dictionaries, whose values are weights."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list | tuple | set):
        for value in values:
            yield from _strings(value)


def _load() -> tuple[Array, Array]:
    """Tokens **[N, 16]** and the number of the country **[N]**."""
    names = by_country()
    labels = np.repeat(np.arange(len(names)), [len(of) for of in names.values()])
    return encode([name for of in names.values() for name in of], LENGTH), labels


register(
    "surnames", _load, kind="multiclass", shape=(LENGTH,), source="Faker", package="faker",
    install='pip install "symloss[data]"', tokens=True,
)  # fmt: skip
