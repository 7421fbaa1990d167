"""What finished tasks leave behind: the worker hands their results here, once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hanlin.control.changes import Context
from hanlin.control.promotion import Promotions
from hanlin.control.registry import Registry
from hanlin.domain import Caller, KeyId, Task


class Outcomes:
    """Applies the result of each kind of task to the registry."""

    def __init__(self, registry: Registry, promotions: Promotions, *, may_approve_itself: bool) -> None:
        self._registry, self._promotions, self._may_approve_itself = registry, promotions, may_approve_itself
        self._appliers: Mapping[str, Callable[[Context, Task, dict[str, Any]], dict[str, Any]]] = {
            "import": self._imported,
            "pull_base": self._pulled,
            "train": self._versions_made,
            "compress": self._versions_made,
            "evaluate": self._evaluated,
            "publish": self._published,
        }

    def apply(self, task: Task, result: Mapping[str, Any]) -> dict[str, Any]:
        """Register what *task* made and return its result as the task shows it."""
        caller = Caller(principal=task.created_by, key_id=KeyId(""), roles=frozenset(), workspace=task.workspace)
        context = Context(caller=caller, request_id=task.id)
        return self._appliers[task.kind](context, task, dict(result))

    def _imported(self, context: Context, task: Task, result: dict[str, Any]) -> dict[str, Any]:
        version = self._registry.add_corpus(context, task.params["corpus"], result)
        return {"corpus": version.corpus, "version": version.number, "digest": version.digest, "rows": version.rows}

    def _pulled(self, context: Context, _: Task, result: dict[str, Any]) -> dict[str, Any]:
        base = self._registry.add_base(context, result.pop("name"), result)
        return {"base": base.name, "digest": base.digest, "licence": base.licence, "size_bytes": base.size_bytes}

    def _versions_made(self, context: Context, task: Task, result: dict[str, Any]) -> dict[str, Any]:
        model, made = task.params["model"], []
        for facts in result["versions"]:
            evidence = facts.pop("evidence", {})
            version = self._registry.add_version(context, model, facts | {"labels": tuple(facts["labels"])})
            for kind, figures in evidence.items():
                self._registry.add_evidence(context, model, version.number, kind, figures, task.id)
            made.append({"version": version.number, "precision": version.precision, "digest": version.digest})
        return {"model": model, "versions": made, **result.get("summary", {})}

    def _evaluated(self, context: Context, task: Task, result: dict[str, Any]) -> dict[str, Any]:
        version, figures = result["version"], result["figures"]
        evidence = self._registry.add_evidence(context, task.params["model"], version, "quality", figures, task.id)
        return {"model": task.params["model"], "version": version, "evidence": evidence.id, "figures": figures}

    def _published(self, context: Context, task: Task, result: dict[str, Any]) -> dict[str, Any]:
        promotion = self._promotions.request(
            context,
            model=task.params["model"],
            version=result["version"],
            alias=task.params["alias"],
            policy=task.params["policy"],
            may_approve_itself=self._may_approve_itself,
        )
        return {"promotion": promotion.id, "state": promotion.state.value, "reason": promotion.reason}
