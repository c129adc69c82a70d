"""Why a request was refused, judged by real endpoints from what real providers say: too long, filtered, or neither."""

from __future__ import annotations

import json
import re
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exchange import Attempt, Failure
from appliance.formats.base import UpstreamError
from appliance.formats.chat import Failed
from appliance.formats.sse import SseEvent
from appliance.grid.compile import compile_grid
from appliance.pipeline.call import failed_inside
from appliance.providers.base import Endpoint
from appliance.providers.refusal_reasons import MAX_READ, ROWS, Row, reason_in, refusal_reason
from config.services import SERVICES
from support.build import load_yaml
from support.fixtures import needs_fixtures, recorded

LONG, FILTER = "context_window", "content_filter"
KEY = "sk-abcdefghijklmnopqrstuvwxyz"


@cache
def endpoint(type_: str) -> Endpoint:
    """`responses` is OpenAI, spoken to in the Responses dialect."""
    entry = "type: openai, api: responses" if type_ == "responses" else f"type: {type_}"
    if type_ != "responses" and SERVICES[type_].needs_base_url:
        entry += ", base_url: 'http://up.test/v1'"
    return compile_grid(load_yaml(f"providers: {{up: {{{entry}, api_key: {KEY}}}}}\n"), 1).endpoints["up"]


def judged(type_: str, status: int, body: Any) -> Failure:
    made = endpoint(type_)
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return made.provider.classify(made, status, {}, sent)


def openai(message: str, code: Any = None, type_: str | None = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": None, "code": code} | more}


def vllm(message: str, type_: str = "BadRequestError") -> dict[str, Any]:
    return {"object": "error", "message": message, "type": type_, "param": None, "code": 400}


def anthropic(message: str, type_: str = "invalid_request_error") -> dict[str, Any]:
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}


def google(message: str, code: int = 400, word: str = "INVALID_ARGUMENT") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": word}}


OUR_CAP = "However, you requested 131134 tokens (122942 in the messages, 8192 in the completion)."
AZURES = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify"
)
ANTHROPICS = "input length and `max_tokens` exceed context limit: 143653 + 64000 > 200000, decrease input length or"
SAFETY = "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed"
IMAGEN = "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI"
XAI = {
    "code": "The caller does not have permission to execute the specified operation",
    "error": "Content violates usage guidelines. Team: team-42, API key ID: k-7, Model: grok-4-0709, Failed check: BIO",
}
RAW = json.dumps(openai(AZURES, "content_filter", None))

TOO_LONG: list[tuple[str, int, Any]] = [
    ("openai", 400, openai("This model's maximum context length is 8192 tokens.", "context_length_exceeded")),
    ("openai", 400, openai("anything at all", "context_length_exceeded")),
    ("openai", 400, openai("Your input exceeds the context window of this model. Please adjust your input")),
    (
        "openai",
        400,
        openai("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 289650"),
    ),
    ("openai", 400, openai("This model's maximum context length is 8192 tokens, however you requested 8610 tokens")),
    (
        "openai",
        400,
        openai(
            "Invalid 'messages[17].content': string too long. Expected a string with maximum length 1048576, but got a "
            "string with length 1744259 instead.",
            "string_above_max_length",
        ),
    ),
    (
        "responses",
        400,
        openai(
            "Invalid 'input[0].content[0].text': string too long. Expected a string with maximum length 10485760, but "
            "got a string with length 62114761 instead.",
            "string_above_max_length",
        ),
    ),
    ("responses", 400, openai("Your input exceeds the context window of this model.", "context_length_exceeded")),
    ("azure", 400, openai("This model's maximum context length is 128000 tokens.", "context_length_exceeded")),
    ("anthropic", 400, anthropic("prompt is too long: 213462 tokens > 200000 maximum")),
    ("anthropic", 400, anthropic(ANTHROPICS)),
    ("google", 400, google("The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).")),
    (
        "google",
        400,
        google(
            "Unable to submit request because the input token count is 40000 but model only supports up to 32768. "
            "Reduce the input token count and try again."
        ),
    ),
    (
        "gemini",
        400,
        [google("The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).")],
    ),
    (
        "mistral",
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum "
            "context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    (
        "qwen",
        400,
        openai(
            "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 983616]",
            "invalid_parameter_error",
        ),
    ),
    (
        "deepseek",
        400,
        openai(
            f"This model's maximum context length is 131072 tokens. {OUR_CAP} Please reduce", "invalid_request_error"
        ),
    ),
    ("groq", 400, openai("Please reduce the length of the messages or completion.", "context_length_exceeded")),
    (
        "cerebras",
        400,
        openai("Please reduce the length of the messages or completion. Current length is 42328 while limit is 40000"),
    ),
    (
        "xai",
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
        },
    ),
    (
        "openrouter",
        400,
        {
            "error": {
                "message": "This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 "
                "tokens (42832 of text input).",
                "code": 400,
                "metadata": {"provider_name": None},
            }
        },
    ),
    (
        "openrouter",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": json.dumps(anthropic("prompt is too long: 213462 tokens > 200000 maximum"))},
            }
        },
    ),
    (
        "openrouter",
        400,
        openai("Input length 131393 exceeds the maximum allowed input length of 131040 tokens.", 400, None),
    ),
    ("together", 400, openai("The input (61709 tokens) is longer than the model's context length (40960 tokens).")),
    ("fireworks", 400, openai("The prompt is too long: 40000, model maximum context length: 32767")),
    (
        "moonshot",
        400,
        {
            "error": {
                "message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
                "type": "invalid_request_error",
            }
        },
    ),
    ("zhipu", 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    ("minimax", 400, openai("invalid params, context window exceeds limit (2013)", None, "bad_request_error")),
    (
        "cohere",
        400,
        {
            "id": "x",
            "message": "too many tokens: size limit exceeded by 19296 tokens. Try using shorter or fewer inputs.",
        },
    ),
    (
        "github",
        413,
        openai("Request body too large for gpt-4o model. Max size: 8000 tokens.", "tokens_limit_reached", None),
    ),
    ("perplexity", 400, openai("The total length of all messages is too long.")),
    ("vllm", 400, vllm(f"This model's maximum context length is 16384 tokens. {OUR_CAP} Please reduce the length of")),
    (
        "vllm",
        400,
        openai(
            "This model's maximum context length is 2048 tokens. However, your request has 8 input tokens plus 2045 "
            "'max_tokens'. Please reduce one or the other.",
            400,
            "BadRequestError",
        ),
    ),
    ("vllm", 400, vllm("The decoder prompt (length 8357) is longer than the maximum model length of 8192.")),
    (
        "vllm",
        400,
        vllm("The prompt (total length 25938) is too long to fit into the model (context length 4096)."),
    ),
    (
        "sglang",
        400,
        vllm(
            "Requested token count exceeds the model's maximum context length of 202752 tokens. You requested a total "
            "of 202941 tokens"
        ),
    ),
    ("sglang", 400, vllm("The input (61709 tokens) is longer than the model's context length (40960 tokens).")),
    (
        "llamacpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size. try increasing the context size or enable",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 14429,
                "n_ctx": 8192,
            }
        },
    ),
    ("llamacpp", 500, {"error": {"code": 500, "message": "no", "type": "exceed_context_size_error"}}),
    ("custom", 500, openai("Requested tokens (2285) exceed context window of 2048", None, "internal_server_error")),
    ("ollama", 400, {"error": "prompt too long; exceeded max context length by 1200 tokens"}),
    ("ollama", 500, {"error": "the input length exceeds the context length"}),
    (
        "lmstudio",
        400,
        {
            "error": "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded "
            "with context length of only 32768 tokens, which is not enough."
        },
    ),
    (
        "lmstudio",
        400,
        {"error": "The number of tokens to keep from the initial prompt is greater than the context length"},
    ),
    (
        "tgi",
        422,
        {
            "error": "Input validation error: `inputs` must have less than 4096 tokens. Given: 4545",
            "error_type": "validation",
        },
    ),
    (
        "tgi",
        422,
        {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 1244 `inputs`"},
    ),
    ("tei", 413, {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 600"}),
    ("nvidia", 400, {"error": "Input length 704 exceeds maximum allowed token size 512"}),
    ("jina", 400, {"detail": "Single text cannot exceed 8194 tokens. 8746 tokens given."}),
    (
        "voyage",
        400,
        {
            "detail": "Request to model 'voyage-3' failed. The example at index 0 in your batch has too many tokens "
            "and does not fit into the model's context window of 32000 tokens."
        },
    ),
    ("custom", 400, {"message": "Input is too long for requested model."}),
    (
        "custom",
        400,
        openai("litellm.BadRequestError: litellm.ContextWindowExceededError: ContextWindowExceededError: no", "400"),
    ),
    ("custom", 400, openai("no", "model_context_window_exceeded")),
    ("custom", 400, openai("prompt token count of 70210 exceeds the limit of 64000")),
    ("custom", 400, b"This model\xe2\x80\x99s maximum context length is 4096 tokens"),
]

FILTERED: list[tuple[str, int, Any]] = [
    ("openai", 400, openai(SAFETY, "content_policy_violation", None)),
    ("openai", 400, openai("Your request was rejected by the safety system.", None, "image_generation_user_error")),
    ("openai", 400, openai("no", "moderation_blocked", "image_generation_user_error")),
    (
        "openai",
        400,
        openai(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with",
            "invalid_prompt",
        ),
    ),
    (
        "responses",
        400,
        openai("Invalid prompt: we've limited access to this content for safety reasons.", "invalid_prompt"),
    ),
    ("responses", 400, openai("no", "bio_policy")),
    ("responses", 400, openai("This content was flagged for possible cybersecurity risk. If this seems wrong, try")),
    ("azure", 400, openai(AZURES, "content_filter", None, param="prompt", status=400)),
    ("azure", 400, openai("Your task failed as a result of our safety system.", "contentFilter", None)),
    ("azure", 400, openai("Generated image was filtered as a result of our safety system.", None, None)),
    ("github", 400, openai(AZURES, "content_filter", None)),
    ("anthropic", 400, anthropic("Output blocked by content filtering policy")),
    ("google", 400, google(f"{IMAGEN} practices. Try rephrasing")),
    (
        "google",
        400,
        google(
            "Image generation failed with the following error: The response is blocked, as it may violate our policies."
        ),
    ),
    (
        "qwen",
        400,
        openai(
            "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain inappropriate content.",
            "data_inspection_failed",
            "data_inspection_failed",
        ),
    ),
    ("qwen", 400, {"code": "DataInspectionFailed", "message": "no", "request_id": "x"}),
    ("deepseek", 400, openai("Content Exists Risk", "invalid_request_error")),
    ("deepseek", 400, {"detail": "Content Exists Risk"}),
    (
        "moonshot",
        400,
        openai("The request was rejected because it was considered high risk", 400, "content_filter", param="prompt"),
    ),
    ("custom", 421, openai("Moderation Block", "421", "content_filter")),
    (
        "zhipu",
        400,
        {
            "contentFilter": [{"role": "user", "level": 1}],
            "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入"},
        },
    ),
    (
        "zhipu",
        400,
        {
            "error": {
                "code": "1301",
                "message": "System detected potentially unsafe or sensitive content in input or generation.",
            }
        },
    ),
    ("minimax", 422, openai("input new_sensitive (1026)", None, "bad_request_error")),
    ("xai", 403, XAI),
    (
        "openrouter",
        403,
        {
            "error": {
                "code": 403,
                "message": "anthropic/claude-3.5-sonnet requires moderation on Amazon Bedrock. Your input was flagged "
                "for 'illicit/violent'.",
                "metadata": {"reasons": ["illicit/violent"], "flagged_input": "x", "provider_name": "Amazon Bedrock"},
            }
        },
    ),
    ("openrouter", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": RAW}}}),
    (
        "custom",
        400,
        {"message": "This request has been blocked by our content filters. Please adjust your text prompt"},
    ),
    ("responses", 400, openai("no", "cyber_policy")),
    ("responses", 400, openai("no", "misalignment_policy_violation")),
    ("responses", 400, openai("no", "image_content_policy_violation")),
    ("azure", 400, openai("no", "ResponsibleAIPolicyViolation", None)),
    ("custom", 400, openai("litellm.ContentPolicyViolationError: ContentPolicyViolationError: no", "400")),
    ("custom", 451, openai("no", "content_filter", None)),
    ("custom", 500, openai("no", "content_filter", None)),
]

NEITHER: list[tuple[str, int, Any, str]] = [
    # The caller's own number, whatever the input is.
    (
        "openai",
        400,
        openai(
            "max_tokens is too large: 40000. This model supports at most 16384 completion tokens, whereas you provided"
        ),
        "caller",
    ),
    (
        "anthropic",
        400,
        anthropic("max_tokens: 128000 > 64000, which is the maximum allowed number of output tokens for claude"),
        "caller",
    ),
    (
        "groq",
        400,
        openai(
            "max_completion_tokens must be less than or equal to 40960, the maximum value for max_completion_tokens is "
            "less than the context_window for this model"
        ),
        "caller",
    ),
    ("qwen", 400, openai("Range of max_tokens should be [1, 8192]", "invalid_parameter_error"), "caller"),
    # Other things that are too long.
    (
        "openai",
        400,
        openai(
            "Invalid 'user': string too long. Expected a string with maximum length 64, but got a string of",
            "string_above_max_length",
        ),
        "caller",
    ),
    (
        "openai",
        400,
        openai(
            "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40, but",
            "string_above_max_length",
        ),
        "caller",
    ),
    (
        "openai",
        400,
        openai(
            "Invalid 'messages[0].content[1].image_url.url': string too long. Expected a string with maximum length "
            "8388608, but got a string with length 11000000 instead.",
            "string_above_max_length",
        ),
        "caller",
    ),
    ("mistral", 400, vllm("Too many tokens in batch. Max is 16384 got 17555", "invalid_request_error"), "caller"),
    ("anthropic", 413, anthropic("Request exceeds the maximum size", "request_too_large"), "caller"),
    ("custom", 413, b"<html><head><title>413 Request Entity Too Large</title></head></html>", "caller"),
    # Rates and money.
    (
        "groq",
        413,
        openai(
            "Request too large for model `llama-3.3-70b` in organization `org` on tokens per minute (TPM): Limit 6000, "
            "Requested 14810, please reduce your message size and try again.",
            "rate_limit_exceeded",
            "tokens",
        ),
        "caller",
    ),
    (
        "openai",
        429,
        openai("Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389.", None, "tokens"),
        "rate_limited",
    ),
    ("custom", 429, openai("context_length_exceeded", "context_length_exceeded"), "rate_limited"),
    ("custom", 400, {"message": "Too many tokens, please wait before trying again."}, "caller"),
    ("custom", 500, {"error": "Rate limit reached. Please reduce the length of the prompt"}, "server_error"),
    ("openrouter", 402, openai("no", "content_filter", None), "operator"),
    ("custom", 401, openai("no", "content_filter", None), "operator"),
    # Malformed, forbidden, broken.
    ("openrouter", 400, {"error": {"code": "invalid_prompt", "message": "Invalid Responses API request"}}, "caller"),
    ("openai", 400, openai("Unknown parameter: 'content_filter'.", "unknown_parameter"), "caller"),
    ("openai", 400, openai("Invalid value for 'moderation': must be one of low, auto."), "caller"),
    ("openai", 403, openai("Your access was terminated due to violation of our policies"), "operator"),
    ("openrouter", 404, openai("No endpoints found matching your data policy.", 404, None), "operator"),
    ("xai", 403, {"code": "forbidden", "error": "Team is not allowed to use this model."}, "operator"),
    (
        "azure",
        500,
        openai(
            "The model produced invalid content. Consider modifying your prompt if you are seeing this error "
            "persistently.",
            None,
            "model_error",
        ),
        "server_error",
    ),
    ("openrouter", 400, openai("Token limit reached", 400, None), "caller"),
    (
        "openai",
        500,
        openai("The server had an error while processing your request.", None, "server_error"),
        "server_error",
    ),
]


def shown(case: Any) -> str:
    return json.dumps(case, ensure_ascii=False)[:60] if isinstance(case, dict | list) else str(case)[:60]


@pytest.mark.parametrize(("type_", "status", "body"), TOO_LONG, ids=shown)
def test_the_input_is_too_long(type_: str, status: int, body: Any) -> None:
    failure = judged(type_, status, body)
    assert (failure.reason, failure.kind, failure.code, failure.status) == (LONG, "caller", "VALIDATION_ERROR", status)


@pytest.mark.parametrize(("type_", "status", "body"), FILTERED, ids=shown)
def test_the_provider_s_filter_refused(type_: str, status: int, body: Any) -> None:
    failure = judged(type_, status, body)
    assert (failure.reason, failure.kind, failure.code, failure.status) == (
        FILTER,
        "caller",
        "VALIDATION_ERROR",
        status,
    )


@pytest.mark.parametrize(("type_", "status", "body", "kind"), NEITHER, ids=shown)
def test_what_only_sounds_like_it(type_: str, status: int, body: Any, kind: str) -> None:
    failure = judged(type_, status, body)
    assert (failure.reason, failure.kind) == (None, kind)


@needs_fixtures
def test_azure_s_recorded_refusal() -> None:
    failure = judged("azure", 400, recorded("azure/error-400-content-filter.response.json"))
    assert (failure.reason, failure.kind, failure.param) == (FILTER, "caller", "prompt")
    assert "content" in failure.message.lower()


@needs_fixtures
@pytest.mark.parametrize(
    ("type_", "status", "name"),
    [
        ("openai", 400, "openai/error-400-unsupported-value"),
        ("openai", 400, "openai/error-400-code-null"),
        ("openai", 404, "openai/error-404-model"),
        ("responses", 400, "openai-responses/error-400"),
        ("anthropic", 400, "anthropic/error-400"),
        ("google", 404, "google/error-404-model"),
        ("google", 429, "google/error-429-retry-info"),
        ("groq", 400, "groq/error-400-tool-use-failed"),
        ("openrouter", 429, "openrouter/error-429-nested"),
    ],
)
def test_the_other_recorded_errors_have_no_reason(type_: str, status: int, name: str) -> None:
    assert judged(type_, status, recorded(f"{name}.response.json")).reason is None


# -- what the caller reads --------------------------------------------------------------------------------------------


def test_behind_the_caller_s_statuses_he_reads_the_provider_s_words() -> None:
    failure = judged("openai", 400, openai("Your input exceeds the context window of this model.", param="input"))
    assert (failure.message, failure.param) == ("Your input exceeds the context window of this model.", "input")


@pytest.mark.parametrize(
    ("type_", "status", "body", "words"),
    [
        ("xai", 403, XAI, "content filter"),
        ("custom", 500, openai(f"Requested tokens exceed context window ({KEY}, team-42)"), "too long for the model"),
    ],
)
def test_behind_others_the_operator_s_account_stays_in_the_log(type_: str, status: int, body: Any, words: str) -> None:
    failure = judged(type_, status, body)
    assert words in failure.message
    assert "team-42" not in failure.message
    assert "team-42" in failure.detail
    assert KEY not in failure.message + failure.detail
    assert failure.param is None


# -- errors inside a stream -------------------------------------------------------------------------------------------


def inside(type_: str, event: SseEvent) -> Failure:
    made = endpoint(type_)
    (failed,) = [said for said in made.format.stream_decoder().feed(event) if isinstance(said, Failed)]
    return failed_inside(Attempt(1, cast(Any, SimpleNamespace(endpoint=made))), failed)


def response_failed(code: str, message: str) -> SseEvent:
    error = {"code": code, "message": message}
    response = {"id": "resp_1", "object": "response", "status": "failed", "error": error, "output": []}
    return SseEvent(json.dumps({"type": "response.failed", "sequence_number": 3, "response": response}).encode())


@pytest.mark.parametrize(
    ("type_", "event", "reason"),
    [
        ("responses", response_failed("context_length_exceeded", "Your input exceeds the context window"), LONG),
        ("responses", response_failed("cyber_policy", "no"), FILTER),
        (
            "responses",
            response_failed("invalid_prompt", "your prompt was flagged as potentially violating our usage policy"),
            FILTER,
        ),
        ("responses", response_failed("server_error", "no"), None),
        (
            "responses",
            SseEvent(
                b'{"type":"error","sequence_number":2,"error":{"type":"invalid_request_error",'
                b'"code":"context_length_exceeded","message":"Your input exceeds the context window","param":"input"}}',
                "error",
            ),
            LONG,
        ),
        (
            "anthropic",
            SseEvent(json.dumps(anthropic("Output blocked by content filtering policy")).encode(), "error"),
            FILTER,
        ),
        ("anthropic", SseEvent(json.dumps(anthropic("Overloaded", "overloaded_error")).encode(), "error"), None),
        ("google", SseEvent(json.dumps(google("The input token count (9) exceeds the maximum")).encode()), LONG),
        ("azure", SseEvent(json.dumps(openai("Error code: 400", "content_filter", None)).encode()), FILTER),
        ("openai", SseEvent(json.dumps(openai("This model's maximum context length is 9")).encode()), LONG),
        (
            "openrouter",
            SseEvent(b'{"error":{"code":403,"message":"x requires moderation. Your input was flagged"}}'),
            FILTER,
        ),
        (
            "groq",
            SseEvent(b'{"error":{"message":"Tool call validation failed","code":"tool_use_failed"}}', "error"),
            None,
        ),
    ],
)
def test_an_error_event_has_the_same_reasons(type_: str, event: SseEvent, reason: str | None) -> None:
    failure = inside(type_, event)
    assert failure.reason == reason
    assert (failure.kind == "caller") == (reason is not None)


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 429])
def test_keys_money_and_rates_have_no_reason(status: int) -> None:
    assert refusal_reason(status, UpstreamError("prompt is too long", code="context_length_exceeded")) is None


def test_codes_count_before_texts_and_however_they_are_written() -> None:
    assert refusal_reason(400, UpstreamError("prompt is too long", code="Content_Filter")) == FILTER
    assert refusal_reason(400, UpstreamError("prompt is too long", type="content_filter", code="400")) == FILTER
    assert refusal_reason(413, UpstreamError("prompt is too long", code="rate_limit_exceeded")) is None


def decoded(type_: str, status: int, body: Any) -> UpstreamError:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return endpoint(type_).format.decode_error(status, sent)


def fits(row: Row, error: UpstreamError) -> bool:
    if row.where == "text":
        return re.search(row.what, error.message, re.IGNORECASE | re.DOTALL) is not None
    return row.what in ((error.code or "").lower(), (error.type or "").lower())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what[:40])
def test_every_row_is_met_by_a_real_error(row: Row) -> None:
    cases = {LONG: TOO_LONG, FILTER: FILTERED}.get(str(row.reason), [case[:3] for case in NEITHER])
    assert any(fits(row, decoded(*case)) for case in cases)


def test_a_very_long_message_is_not_read_to_its_end() -> None:
    assert reason_in("x" * MAX_READ + "prompt is too long") is None
    assert reason_in("x" * (MAX_READ - 20) + "prompt is too long") == LONG


@given(st.text(max_size=500), st.integers(300, 599))
def test_any_text_has_a_reason_or_none(text: str, status: int) -> None:
    assert refusal_reason(status, UpstreamError(text, type=text, code=text)) in (LONG, FILTER, None)
