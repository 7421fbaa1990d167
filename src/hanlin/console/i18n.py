"""Two languages, two catalogues: texts by their English wording, words from the data by group and name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

DEFAULT = "zh"
NAMES = {"zh": "中文", "en": "English"}
NAME = re.compile("[a-z0-9_]+")
TAGS = {"zh": "zh-CN", "en": "en"}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """
    Everything the console says in one language.

    *texts* maps the English wording to this language's (empty for English itself); *words* names what comes as data:
    states, roles, kinds, figures, error codes.
    """

    language: str
    texts: Mapping[str, str]
    words: Mapping[str, Mapping[str, str]]

    def text(self, wording: str, /, **values: object) -> str:
        """Return the text whose English wording is *wording*, with *values* in its braces."""
        found = self.texts.get(wording, wording)
        return found.format(**values) if values else found

    def word(self, group: str, name: object) -> str:
        """Return the word for *name* of *group*; of one that we do not know, the name."""
        plain = str(getattr(name, "value", name))
        known = self.words.get(group, {}).get(plain)
        return known or (plain.replace("_", " ") if NAME.fullmatch(plain) else plain)

    def ordered(self, group: str, mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Return the items of *mapping* in the order of the words of *group*; those without a word come last."""
        places = {name: place for place, name in enumerate(self.words.get(group, {}))}
        return sorted(mapping.items(), key=lambda item: places.get(item[0], len(places)))

    def knows(self, group: str, name: object) -> bool:
        """Whether there is a word of our own for *name*."""
        return str(name) in self.words.get(group, {})


@cache
def catalogue(language: str) -> Catalogue:
    """Return the catalogue of *language*, or of the default one."""
    chosen = language if language in NAMES else DEFAULT
    raw = resources.files("hanlin.console").joinpath("locales", f"{chosen}.toml").read_text(encoding="utf-8")
    groups = tomllib.loads(raw)
    return Catalogue(chosen, groups.pop("text", {}), groups)


def choose_language(wish: str | None, accepted: str) -> str:
    """Return the language of a visitor: the one chosen, else the first of Accept-Language that we speak."""
    if wish in NAMES:
        return wish
    ranked = sorted((_ranked(part) for part in accepted.split(",") if part.strip()), key=lambda item: -item[1])
    spoken = (tag for tag, weight in ranked if tag in NAMES and weight > 0)
    return next(spoken, DEFAULT)


def _ranked(part: str) -> tuple[str, float]:
    tag, _, parameter = part.strip().partition(";")
    weight = parameter.strip().removeprefix("q=")
    return tag.strip().lower().split("-")[0], float(weight) if weight.replace(".", "", 1).isdigit() else 1.0
