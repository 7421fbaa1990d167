"""The registry: corpora, bases, models, versions and the evidence about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hanlin.control.changes import Changes, Context
from hanlin.domain import (
    Base,
    ConflictError,
    CorpusName,
    CorpusVersion,
    Evidence,
    EvidenceId,
    InvalidInputError,
    Model,
    ModelName,
    ModelVersion,
    TaskId,
    new_id,
)
from hanlin.store import Store

NAME_LIMIT = 63


class Registry:
    """Adds what tasks made, and changes what may change."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store, self._changes = store, changes

    def add_corpus(self, context: Context, name: str, facts: Mapping[str, Any]) -> CorpusVersion:
        """Register a corpus version; the same content under the same name gives back the version that is there."""
        check_name(name, "corpus")
        known = list(self._store.corpora.iter(corpus=name))
        for version in known:
            if version.profile.get("content_digest") == facts["profile"]["content_digest"]:
                return version
        version = CorpusVersion(
            corpus=CorpusName(name),
            number=len(known) + 1,
            created_at=datetime.now(UTC),
            created_by=context.caller.principal,
            **facts,
        )
        with self._changes.record(context, "corpus.imported", corpus=name, version=version.number, **_brief(facts)):
            return self._store.corpora.add(version)

    def add_base(self, context: Context, name: str, facts: Mapping[str, Any]) -> Base:
        """Register a pulled base; pulling the same bytes again changes nothing."""
        was = self._store.bases.find(name)
        if was is not None and was.digest == facts["digest"]:
            return was
        base = Base(name=name, created_at=datetime.now(UTC), **facts)
        with self._changes.record(context, "base.pulled", base=name, **_brief(facts)):
            return self._store.bases.add(base) if was is None else self._store.bases.replace(base, was=was)

    def add_version(self, context: Context, model: str, facts: Mapping[str, Any]) -> ModelVersion:
        """Register a version under the next number; the model comes into being with its first."""
        check_name(model, "model")
        with self._changes.record(context, "version.created", model=model, **_brief(facts)) as details:
            if self._store.models.find(model) is None:
                created = datetime.now(UTC)
                owner = context.caller.principal
                task = str(facts.get("task", "classification"))
                self._store.models.add(Model(name=ModelName(model), task=task, created_at=created, owner=owner))
            numbers = [version.number for version in self._store.versions.iter(model=model)]
            details["version"] = number = max(numbers, default=0) + 1
            version = ModelVersion(
                model=ModelName(model),
                number=number,
                created_at=datetime.now(UTC),
                created_by=context.caller.principal,
                **{name: value for name, value in facts.items() if name != "task"},
            )
            return self._store.versions.add(version)

    def add_evidence(
        self, context: Context, model: str, version: int, kind: str, figures: Mapping[str, Any], task_id: TaskId | None
    ) -> Evidence:
        """Attach measured figures to a version."""
        self._store.versions.get(model, version)
        evidence = Evidence(
            id=EvidenceId(new_id("evidence")),
            model=ModelName(model),
            version=version,
            kind=kind,
            figures=figures,
            created_at=datetime.now(UTC),
            task_id=task_id,
        )
        with self._changes.record(
            context, "evidence.added", model=model, version=version, evidence=evidence.id, evidence_kind=kind
        ):
            return self._store.evidence.add(evidence)

    def update_model(self, context: Context, name: str, changes: Mapping[str, Any]) -> Model:
        """Change description, owner or tags of a model."""
        was = self._store.models.get(name)
        with self._changes.record(context, "model.updated", model=name, changed=sorted(changes)):
            return self._store.models.replace(replace(was, **changes), was=was)

    def tag_version(self, context: Context, model: str, number: int, tags: Mapping[str, str]) -> ModelVersion:
        """Replace the tags of a version."""
        was = self._store.versions.get(model, number)
        with self._changes.record(context, "version.tagged", model=model, version=number, tags=sorted(tags)):
            return self._store.versions.replace(replace(was, tags=dict(tags)), was=was)

    def retire_version(self, context: Context, model: str, number: int) -> ModelVersion:
        """Take a version out of use for good; ConflictError (``version_in_use``) while an alias names it."""
        with self._store.transaction():  # no alias comes to name it between the look and the change
            was = self._store.versions.get(model, number)
            aliases = [alias.name for alias in self._store.aliases.iter(model=model) if alias.version == number]
            if aliases:
                raise ConflictError(
                    f"version {number} of {model} is {', '.join(aliases)}",
                    code="version_in_use",
                    hint="promote another version first",
                )
            with self._changes.record(context, "version.retired", model=model, version=number):
                return self._store.versions.replace(was.retired(), was=was)


def check_name(name: str, noun: str) -> None:
    """Return when *name* may name a *noun*; letters, digits, dot, dash, underscore, starting with a letter or digit."""
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    if not name or len(name) > NAME_LIMIT or not set(name) <= allowed or not name[0].isalnum():
        raise InvalidInputError(
            f"{name!r} cannot name a {noun}",
            code="name_invalid",
            hint=f"use 1 to {NAME_LIMIT} of a-z, 0-9, dot, dash and underscore, beginning with a letter or digit",
            param=noun,
        )


def _brief(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(facts[name]) for name in ("digest", "source", "licence", "precision", "format") if name in facts}
