"""The hot path: admit, judge, write down, answer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from hanlin.audit import Entry, Receipt
from hanlin.domain import InternalError, InvalidInputError, NotFoundError, PlatformError, TooLargeError
from hanlin.engines import TextEncoder
from hanlin.gateway.access import Access
from hanlin.gateway.http import HttpRequest, HttpResponse
from hanlin.gateway.lanes import Lane, Text, VersionGoneError
from hanlin.wire import Classification, ClassifyReply, ClassifyRequest, KeyGrant, Route, Usage

MILLION = 1_000_000
CLIENT_CLOSED = 499
_decode = msgspec.json.Decoder(ClassifyRequest).decode
_encode = msgspec.json.Encoder().encode


class Recorder(Protocol):
    """What the hot path needs of a ledger."""

    async def append(self, entry: Entry) -> Receipt:
        """Return when *entry* is durable."""


@dataclass(slots=True)
class Exchange:
    """One request on its way, with everything that its record will say."""

    request: HttpRequest
    request_id: str
    grant: KeyGrant
    begun: float = field(default_factory=time.perf_counter)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ask: ClassifyRequest | None = None
    route: Route | None = None
    texts: Sequence[Text] = ()
    data: Sequence[Classification] = ()


class Predict:
    """Answers POST /v1/classify."""

    def __init__(self, access: Access, recorder: Recorder, *, max_texts: int) -> None:
        self._access, self._recorder, self._max_texts = access, recorder, max_texts
        self.lanes: Mapping[str, Lane] = {}
        self.encoders: Mapping[str, TextEncoder] = {}

    async def __call__(self, request: HttpRequest, request_id: str) -> HttpResponse:
        """Answer one request; whatever comes of it is in the ledger before anybody hears of it."""
        grant = self._access.authenticate(request.headers.get("authorization", ""))
        exchange = Exchange(request, request_id, grant)
        try:
            headers = self._access.count(grant)
            reply = await self._judge(exchange)
        except asyncio.CancelledError:
            await asyncio.shield(self._record(exchange, CLIENT_CLOSED, {"code": "client_closed"}, b""))
            raise
        except PlatformError as error:
            await self._record(exchange, error.status, {"code": error.code}, b"")
            raise
        body = _encode(reply)
        committed = time.perf_counter()
        await self._record(exchange, 200, _outcome(exchange), _encode(reply.data))
        return HttpResponse(200, body, headers=headers | _headers(exchange, time.perf_counter() - committed))

    async def _judge(self, exchange: Exchange) -> ClassifyReply:
        exchange.ask = ask = read_request(exchange.request.body)
        rows_in = [ask.input] if isinstance(ask.input, str) else ask.input
        self._check(rows_in)
        lane = self.lanes.get(ask.model)
        if lane is None:
            raise NotFoundError(
                f"there is no deployment {ask.model!r}", code="model_not_found", hint="GET /v1/models", param="model"
            )
        self._access.permit(exchange.grant, ask.model)
        while True:
            exchange.route = route = lane.route
            encoder = self.encoders[route.digest]
            try:
                exchange.texts = texts = await lane.judge(encoder.encode(rows_in, truncate=ask.truncate))
                break
            except VersionGoneError:
                continue
        labels = encoder.info.labels
        exchange.data = data = [classify(index, text.logits.result(), labels) for index, text in enumerate(texts)]
        tokens = sum(len(text.ids) for text in texts)
        lane.figures.texts += len(texts)
        lane.figures.tokens += tokens
        for text in texts:
            lane.figures.queue_s.observe(text.queue_s)
        usage = Usage(texts=len(texts), tokens=tokens)
        return ClassifyReply(model=ask.model, version=route.version, digest=route.digest, data=data, usage=usage)

    def _check(self, texts: Sequence[str]) -> None:
        if not texts or any(not text.strip() for text in texts):
            raise InvalidInputError(
                "an input text is empty", code="input_empty", hint="send at least one text with words", param="input"
            )
        if len(texts) > self._max_texts:
            raise TooLargeError(
                f"{len(texts)} texts came, the limit is {self._max_texts}",
                code="too_many_texts",
                hint="send several requests",
                param="input",
            )

    async def _record(
        self, exchange: Exchange, status: int, outcome: dict[str, str | int | bool | list[str]], result: bytes
    ) -> None:
        total_s = time.perf_counter() - exchange.begun
        ask, route, grant, headers = exchange.ask, exchange.route, exchange.grant, exchange.request.headers
        subject = headers.get("x-subject") or (ask.user if ask else None) or grant.id
        if ask is not None and (lane := self.lanes.get(ask.model)) is not None:
            lane.figures.count("ok" if status == 200 else str(outcome.get("code", status)))
            lane.figures.total_s.observe(total_s)
        details: dict[str, str | int | bool | list[str]] = {"key": grant.id, **outcome}
        if ask is not None:
            details["deployment"] = ask.model[:200]
        if route is not None:
            details |= {
                "model": route.model,
                "version": route.version,
                "digest": route.digest,
                "release": route.release,
            }
        await self._recorder.append(
            Entry(
                kind="prediction",
                action="predict",
                actor=grant.principal,
                workspace=grant.workspace,
                subject=subject,
                request_id=exchange.request_id,
                at=exchange.at,
                ip=exchange.request.ip,
                status=status,
                details=details,
                request=exchange.request.body,
                result=result,
                latency_us=int(total_s * MILLION),
                queue_us=int(max((text.queue_s for text in exchange.texts), default=0) * MILLION),
                compute_us=int(max((text.compute_s for text in exchange.texts), default=0) * MILLION),
            )
        )


def read_request(body: bytes) -> ClassifyRequest:
    """Return the request in *body*, or raise InvalidInputError that says what is wrong and where."""
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        hint = 'send {"model": deployment, "input": text or list of texts}'
        raise InvalidInputError(f"the request is not as expected: {error}", code="invalid_input", hint=hint) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the body is not valid JSON: {error}", code="malformed_json", hint="send UTF-8 JSON"
        ) from None


def classify(index: int, logits: Sequence[float], labels: Sequence[str]) -> Classification:
    """Turn logits into probabilities (softmax) and pick the best label."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    total = sum(weights)
    if not total > 0:
        raise InternalError("the model gave no usable scores", code="engine_output_invalid")
    probabilities = {label: weight / total for label, weight in zip(labels, weights, strict=True)}
    label = max(probabilities, key=probabilities.__getitem__)
    return Classification(index=index, label=label, score=probabilities[label], probabilities=probabilities)


def _outcome(exchange: Exchange) -> dict[str, str | int | bool | list[str]]:
    data = exchange.data
    return {
        "label": data[0].label,
        "score_millionths": round(data[0].score * MILLION),
        "labels": [one.label for one in data],
        "texts": len(data),
        "tokens": sum(len(text.ids) for text in exchange.texts),
        "truncate": bool(exchange.ask and exchange.ask.truncate),
    }


def _headers(exchange: Exchange, audit_s: float) -> dict[str, str]:
    route, texts = exchange.route, exchange.texts
    assert route is not None  # noqa: S101
    queue_ms = max(text.queue_s for text in texts) * 1000
    infer_ms = max(text.compute_s for text in texts) * 1000
    total_ms = (time.perf_counter() - exchange.begun) * 1000
    return {
        "X-Model-Version": str(route.version),
        "X-Model-Digest": route.digest,
        "Server-Timing": f"queue;dur={queue_ms:.2f}, infer;dur={infer_ms:.2f}, audit;dur={audit_s * 1000:.2f}, "
        f"total;dur={total_ms:.2f}",
    }
