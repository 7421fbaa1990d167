"""Promotion policies: a small, safe expression over evidence, such as ``accuracy_low >= 0.8 and agreement >= 0.99``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hanlin.domain.errors import InvalidInputError

MAX_LENGTH = 2000
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One condition of a policy, with what it saw."""

    text: str
    holds: bool
    found: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a policy says about a set of facts."""

    is_met: bool
    clauses: tuple[Clause, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        clauses = [{"text": c.text, "holds": c.holds, "found": dict(c.found)} for c in self.clauses]
        return {"is_met": self.is_met, "clauses": clauses, "missing": list(self.missing)}


def decide(policy: str, facts: Mapping[str, Any]) -> Verdict:
    """
    Judge *facts* by *policy*: comparisons of names and numbers, joined by ``and``, ``or``, ``not``.

    A condition on a fact that is missing does not hold, and the fact is listed. Pure: the same facts give the same
    verdict. Raises InvalidInputError (``policy_invalid``) for anything but comparisons.
    """
    tree = _parsed(policy)
    clauses: list[Clause] = []
    missing: set[str] = set()
    return Verdict(is_met=_holds(tree, facts, clauses, missing), clauses=tuple(clauses), missing=tuple(sorted(missing)))


def _parsed(policy: str) -> ast.expr:
    if len(policy) > MAX_LENGTH:
        raise _invalid(f"the policy has {len(policy)} characters, more than {MAX_LENGTH}")
    try:
        return ast.parse(policy.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _invalid(f"the policy cannot be read: {error}") from None


def _invalid(message: str) -> InvalidInputError:
    hint = "write comparisons such as accuracy_low >= 0.8 and agreement >= 0.99"
    return InvalidInputError(message, code="policy_invalid", hint=hint, param="policy")


def _holds(node: ast.expr, facts: Mapping[str, Any], clauses: list[Clause], missing: set[str]) -> bool:
    if isinstance(node, ast.BoolOp):
        results = [_holds(value, facts, clauses, missing) for value in node.values]
        return all(results) if isinstance(node.op, ast.And) else any(results)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return not _holds(node.operand, facts, clauses, missing)
    if isinstance(node, ast.Compare):
        clause = _clause(node, facts, missing)
        clauses.append(clause)
        return clause.holds
    raise _invalid(f"{ast.unparse(node)!r} is not a comparison")


def _clause(node: ast.Compare, facts: Mapping[str, Any], missing: set[str]) -> Clause:
    operands = [node.left, *node.comparators]
    names = {operand.id for operand in operands if isinstance(operand, ast.Name)}
    absent = names - facts.keys()
    missing |= absent
    found = {name: facts[name] for name in sorted(names - absent)}
    values = [None if absent else _value(operand, facts) for operand in operands]
    holds = not absent and all(
        _compare(op, left, right) for op, left, right in zip(node.ops, values, values[1:], strict=False)
    )
    return Clause(text=ast.unparse(node), holds=holds, found=found)


def _value(node: ast.expr, facts: Mapping[str, Any]) -> float | str | bool:
    if isinstance(node, ast.Name):
        return facts[node.id]  # type: ignore[no-any-return]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -float(str(node.operand.value))
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str)):
        return node.value
    raise _invalid(f"{ast.unparse(node)!r} is neither a name nor a number")


def _compare(op: ast.cmpop, left: Any, right: Any) -> bool:
    if type(op) not in COMPARISONS:
        raise _invalid(f"the comparison {type(op).__name__} is not known")
    try:
        return bool(COMPARISONS[type(op)](left, right))
    except TypeError:
        raise _invalid(f"{left!r} and {right!r} cannot be compared") from None
