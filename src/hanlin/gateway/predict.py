"""The hot path: admit, judge, write down, answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Protocol

import msgspec

from hanlin.audit import Detail, Entry, Receipt
from hanlin.domain import InternalError, InvalidInputError, NotFoundError, PlatformError, TooLargeError
from hanlin.gateway.access import Access, Pass
from hanlin.gateway.answers import render_error
from hanlin.gateway.http import HttpRequest, HttpResponse
from hanlin.gateway.lanes import Lane, Ticket, VersionGoneError
from hanlin.wire import Classification, ClassifyReply, ClassifyRequest, Route, Usage

MILLION = 1_000_000
CLIENT_CLOSED = 499
INLINE_CHARACTERS = 8192  # longer input is tokenized in a thread, so that it holds up nobody else
SUBJECT_CHARACTERS = 256
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
    caller: Pass
    begun: float = field(default_factory=perf_counter)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    headers: dict[str, str] = field(default_factory=dict)
    ask: ClassifyRequest | None = None
    lane: Lane | None = None
    route: Route | None = None
    ticket: Ticket | None = None
    tokens: int = 0
    is_recording: bool = False


class Predict:
    """Answers POST /v1/classify."""

    def __init__(self, access: Access, recorder: Recorder, current: Mapping[str, Lane], *, max_texts: int) -> None:
        self._access, self._recorder, self._current, self._max_texts = access, recorder, current, max_texts

    async def __call__(self, request: HttpRequest, request_id: str) -> HttpResponse:
        """Answer one request; whatever comes of it is in the ledger before anybody hears of it."""
        caller = self._access.authenticate(request.headers.get("authorization", ""))
        exchange = Exchange(request, request_id, caller)
        try:
            self._access.count(caller.grant, exchange.headers)
            reply = await self._judge(exchange)
            body = _encode(reply)
            await self._record(exchange, 200, _outcome(exchange, reply), body)
        except PlatformError as error:
            if exchange.is_recording:  # nothing leaves that is not written down
                raise
            await self._record(exchange, error.status, {"code": error.code}, b"")
            response = render_error(error, request.headers.get("accept-language", ""))
            response.headers |= exchange.headers
            return response
        except BaseException as error:
            if not exchange.is_recording:
                status = CLIENT_CLOSED if isinstance(error, asyncio.CancelledError) else 500
                await self._record(exchange, status, {"code": "cancelled" if status == CLIENT_CLOSED else "bug"}, b"")
            raise
        return HttpResponse(200, body, headers=exchange.headers)

    async def _judge(self, exchange: Exchange) -> ClassifyReply:
        exchange.ask = ask = read_request(exchange.request.body)
        texts = [ask.input] if isinstance(ask.input, str) else ask.input
        self._admit(exchange, ask.model)
        self._check(texts)
        deadline: float | None = None
        while True:
            lane, route = self._admit(exchange, ask.model)
            deadline = deadline or _deadline(exchange.request, route)
            rows = await _tokenize(lane, texts, truncate=ask.truncate)
            exchange.tokens = sum(map(len, rows))
            try:
                exchange.ticket = ticket = await lane.judge(rows, deadline)
                break
            except VersionGoneError:
                continue
        labels = lane.encoder.info.labels
        data = [classify(index, logits, labels) for index, logits in enumerate(ticket.logits)]
        usage = Usage(texts=len(data), tokens=exchange.tokens)
        return ClassifyReply(model=ask.model, version=route.version, digest=route.digest, data=data, usage=usage)

    def _admit(self, exchange: Exchange, deployment: str) -> tuple[Lane, Route]:
        lane = self._current.get(deployment)
        if lane is None or not exchange.caller.sees(lane.route):
            raise NotFoundError(
                f"there is no deployment {deployment[:64]!r}",
                code="model_not_found",
                hint="GET /v1/models lists those that your key opens",
                param="model",
            )
        exchange.lane, exchange.route = lane, lane.route
        self._access.permit(exchange.caller, lane.route)
        return lane, lane.route

    def _check(self, texts: Sequence[str]) -> None:
        if len(texts) > self._max_texts:
            raise TooLargeError(
                f"{len(texts)} texts came, the limit is {self._max_texts}",
                code="too_many_texts",
                hint="send several requests",
                param="input",
            )
        if not texts or not all(map(str.strip, texts)):
            index = next((index for index, text in enumerate(texts) if not text.strip()), None)
            raise InvalidInputError(
                "input is an empty list" if index is None else f"text {index} of input is empty",
                code="input_empty",
                hint="send at least one text, each with something to read",
                param="input",
            )

    async def _record(self, exchange: Exchange, status: int, outcome: Mapping[str, Detail], result: bytes) -> None:
        """Return when the outcome of *exchange* is durable; then its headers are complete too."""
        exchange.is_recording = True
        began = perf_counter()
        entry = entry_of(exchange, status, outcome, result, latency_s=began - exchange.begun)
        _count(exchange, status, str(outcome.get("code", "")), began - exchange.begun)
        await self._recorder.append(entry)
        ended = perf_counter()
        ticket, route = exchange.ticket, exchange.route
        parts = [("audit", ended - began), ("total", ended - exchange.begun)]
        if ticket is not None:
            parts[:0] = [("queue", ticket.queue_s), ("infer", ticket.compute_s)]
        exchange.headers["Server-Timing"] = ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in parts)
        if route is not None:
            exchange.headers["X-Model-Version"] = str(route.version)
            exchange.headers["X-Model-Digest"] = route.digest


def read_request(body: bytes) -> ClassifyRequest:
    """Return the request in *body*, or raise InvalidInputError that says what is wrong and where."""
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInputError(
            f"the request is not as expected: {error}",
            hint='send {"model": deployment, "input": text or list of texts}',
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the body is not valid JSON: {error}", code="malformed_json", hint="send UTF-8 JSON"
        ) from None


def classify(index: int, logits: Sequence[float], labels: Sequence[str]) -> Classification:
    """Turn logits into probabilities (softmax) and pick the best label; raise InternalError for what is no number."""
    top = max(logits)
    weights = [math.exp(value - top) for value in logits]
    total = sum(weights)
    if not math.isfinite(total):
        raise InternalError("the model gave no usable scores", code="engine_output_invalid")
    best = logits.index(top)
    probabilities = {label: weight / total for label, weight in zip(labels, weights, strict=True)}
    return Classification(index, labels[best], weights[best] / total, probabilities)


def outcome_of(status: int, code: str) -> str:
    """Return the word that a request is counted under; only the last kind is a fault of the platform."""
    if status == 200:
        return "ok"
    if status == CLIENT_CLOSED:
        return "cancelled"
    if status in {401, 403, 429}:
        return "refused"
    return "invalid" if status < 500 else code


def entry_of(
    exchange: Exchange, status: int, outcome: Mapping[str, Detail], result: bytes, *, latency_s: float
) -> Entry:
    """Return what the ledger keeps of *exchange*: *outcome* stays readable, bodies and subject are kept encrypted."""
    ask, route, grant, ticket = exchange.ask, exchange.route, exchange.caller.grant, exchange.ticket
    details: dict[str, Detail] = {"key": grant.id, **outcome}
    if route is not None:
        details["deployment"], details["model"], details["version"] = route.deployment, route.model, route.version
        details["digest"], details["release"] = route.digest, route.release
    subject = exchange.request.headers.get("x-subject", "").encode("latin-1").decode("utf-8", "replace")
    return Entry(
        kind="prediction",
        action="predict",
        actor=grant.principal,
        workspace=grant.workspace,
        subject=(subject or (ask.user if ask else None) or grant.id)[:SUBJECT_CHARACTERS],
        request_id=exchange.request_id,
        at=exchange.at,
        ip=exchange.request.ip,
        status=status,
        details=details,
        request=exchange.request.body,
        result=result,
        latency_us=int(latency_s * MILLION),
        queue_us=int(ticket.queue_s * MILLION) if ticket else 0,
        compute_us=int(ticket.compute_s * MILLION) if ticket else 0,
    )


async def _tokenize(lane: Lane, texts: Sequence[str], *, truncate: bool) -> list[list[int]]:
    if sum(map(len, texts)) <= INLINE_CHARACTERS:
        return lane.encoder.encode(texts, truncate=truncate)
    return await asyncio.to_thread(lane.encoder.encode, texts, truncate=truncate)


def _deadline(request: HttpRequest, route: Route) -> float:
    """Return when the answer has to be there (event loop's time): the route's limit, or the caller's if shorter."""
    limit_ms = route.queue_deadline_ms
    wanted = request.headers.get("x-request-timeout")
    if wanted is not None:
        if not (wanted.isdecimal() and int(wanted[:9]) > 0):
            raise InvalidInputError(f"X-Request-Timeout is {wanted[:32]!r}", hint="it is a number of milliseconds")
        limit_ms = min(limit_ms, int(wanted[:9]))
    return asyncio.get_running_loop().time() + limit_ms / 1000


def _outcome(exchange: Exchange, reply: ClassifyReply) -> dict[str, Detail]:
    data, ask = reply.data, exchange.ask
    details: dict[str, Detail] = {
        "label": data[0].label,
        "score_millionths": round(data[0].score * MILLION),
        "texts": len(data),
        "tokens": exchange.tokens,
    }
    if len(data) > 1:
        details["labels"] = [one.label for one in data]
        details["scores_millionths"] = [round(one.score * MILLION) for one in data]
    if ask is not None and ask.truncate:
        details["truncate"] = True
    return details


def _count(exchange: Exchange, status: int, code: str, latency_s: float) -> None:
    lane, ticket = exchange.lane, exchange.ticket
    if lane is None:
        return
    figures = lane.figures
    figures.count(outcome_of(status, code))
    if status == 200 and ticket is not None:
        figures.texts += len(ticket.logits)
        figures.tokens += exchange.tokens
        figures.queue_s.observe(ticket.queue_s)
        figures.total_s.observe(latency_s)
