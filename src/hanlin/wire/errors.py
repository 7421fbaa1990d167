"""How an error looks in each dialect; its message is translated here, by code."""

from __future__ import annotations

import msgspec

from hanlin.domain import PlatformError

OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
CHINESE = {
    "invalid_api_key": "密钥无效",
    "forbidden": "没有权限",
    "model_not_found": "没有这个部署",
    "malformed_json": "请求体不是合法的 JSON",
    "text_too_long": "文本超出模型的最大长度",
    "too_large": "请求过大",
    "overloaded": "请求过多，请稍后再试",
    "deadline_exceeded": "处理超时",
    "no_replica_ready": "暂无可用副本",
    "ledger_unavailable": "审计账本暂时不可写，答复已扣留",
    "storage_full": "磁盘空间不足",
    "rate_limited": "超过速率限制",
    "four_eyes": "申请人不能审批自己的申请",
    "precondition_failed": "对象已被他人修改",
}


def translate(error: PlatformError, language: str) -> str:
    """Return the message of *error* for an Accept-Language header; the facts in it stay as they are."""
    if language.lower().startswith("zh") and error.code in CHINESE:
        return f"{CHINESE[error.code]}: {error.message}"
    return error.message


def openai_body(error: PlatformError, *, language: str = "") -> bytes:
    """Render *error* as OpenAI clients expect it (paths under /v1)."""
    message = translate(error, language)
    text = f"{message} ({error.hint})" if error.hint else message
    type_ = OPENAI_TYPES.get(error.status, "server_error")
    return msgspec.json.encode({"error": {"message": text, "type": type_, "param": error.param, "code": error.code}})


def problem_body(error: PlatformError, *, request_id: str, instance: str, language: str = "") -> bytes:
    """Render *error* as RFC 9457 asks for it (paths under /api/v1)."""
    return msgspec.json.encode(
        {
            "type": f"urn:hanlin:error:{error.code}",
            "title": error.code.replace("_", " "),
            "status": error.status,
            "detail": translate(error, language),
            "instance": instance,
            "code": error.code,
            "hint": error.hint,
            "param": error.param,
            "request_id": request_id,
        }
    )
