"""Which language is it? Names of languages, territories and scripts in a hundred languages, from Babel's CLDR."""

from __future__ import annotations

import numpy as np

from symloss.tasks import cache
from symloss.tasks.registry import register
from symloss.tasks.splits import Array
from symloss.tasks.text import encode

LENGTH, LANGUAGES, EACH = 24, 100, 400
_VERSION = 2  # of how they are chosen and encoded


def names() -> dict[str, list[str]]:
    """400 strings of each of 100 languages, each string of one of them alone.

    Languages are given up one by one, always that with the fewest strings of its own, until 100 are left. Of the
    strings of each, 400 are drawn by a fixed seed.
    """
    from babel import Locale, localedata

    strings: dict[str, set[str]] = {}
    for language in sorted(name for name in localedata.locale_identifiers() if "_" not in name and name != "root"):
        locale = Locale.parse(language)
        tables = (locale.languages, locale.territories, locale.scripts)
        strings[language] = {str(name) for table in tables for name in table.values()}
    holders: dict[str, set[str]] = {}
    for language, held in strings.items():
        for name in held:
            holders.setdefault(name, set()).add(language)
    own = {language: {n for n in held if len(holders[n]) == 1} for language, held in strings.items()}
    while len(own) > LANGUAGES:
        fewest = min(own, key=lambda language: (len(own[language]), language))
        del own[fewest]
        for name in strings[fewest]:
            holders[name].discard(fewest)
            if len(holders[name]) == 1:
                (language,) = holders[name]
                own[language].add(name)
    generator = np.random.default_rng(0)
    return {language: sorted(generator.permutation(sorted(held))[:EACH]) for language, held in sorted(own.items())}


def _make() -> dict[str, Array]:
    found = names()
    texts = [name for of in found.values() for name in of]
    return {"x": encode(texts, LENGTH), "y": np.repeat(np.arange(len(found)), [len(of) for of in found.values()])}


def _load() -> tuple[Array, Array]:
    """Tokens **[40000, 24]** and the number of the language **[40000]**."""
    import babel

    arrays = cache.kept("languages", (_VERSION, babel.__version__), _make)
    return arrays["x"], arrays["y"]


register(
    "languages", _load, kind="multiclass", samples=LANGUAGES * EACH, shape=(LENGTH,), classes=LANGUAGES,
    source="Babel", package="babel", install='pip install "symloss[data]"', tokens=True,
)  # fmt: skip
