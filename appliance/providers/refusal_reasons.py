"""Why an upstream refused a request: its input is too long for the model, or the provider's filter was against it.

One table of codes and phrases for all dialects, because aggregators and self-hosted servers pass on each other's words.
Must not decide whose fault an error is or what is done about it.

What counts as `context_window`: input, or input and output cap together, do not fit the model. What does not: a cap
above what the model writes at most (the caller's own number), a body of too many bytes, a limit of tokens per minute.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from appliance.exchange import FallbackReason
from appliance.formats.base import UpstreamError

OTHER_STATUSES = (401, 402, 429)
"""Keys, money and rates: such errors speak of tokens and policies too, and mean something else."""

MAX_READ = 2000
"""Characters of a message that are read."""


class Row(NamedTuple):
    """`code` is compared with an error's type and code; `text` is a pattern that is sought in its message."""

    reason: FallbackReason | None
    where: Literal["code", "text"]
    what: str


ROWS = (
    # Not meant, whatever else is said: OpenAI and Groq, "Request too large … on tokens per minute (TPM)", with status
    # 413 at Groq; Bedrock, "ThrottlingException: Too many tokens, please wait before trying again".
    Row(None, "code", "rate_limit_exceeded"),
    Row(None, "text", r"tokens per (?:min|hour|day)"),
    Row(None, "text", r"rate limit"),
    Row(None, "text", r"too many tokens, please wait"),
    # -- the input is too long ----------------------------------------------------------------------------------------
    # OpenAI (docs, "Error codes"), Groq, DeepSeek, OpenRouter, llama-cpp-python.
    Row("context_window", "code", "context_length_exceeded"),
    # Z.ai: moltis-org/moltis#580.
    Row("context_window", "code", "model_context_window_exceeded"),
    # llama.cpp: ggml-org/llama.cpp#15780.
    Row("context_window", "code", "exceed_context_size_error"),
    # GitHub Models: "Request body too large for gpt-4o model. Max size: 8000 tokens." (eslint/tsc-meetings#593).
    Row("context_window", "code", "tokens_limit_reached"),
    Row("context_window", "text", r"max size: \d+ tokens"),
    # Gateways that put the upstream's whole error into their message; LiteLLM names its exceptions.
    Row("context_window", "text", r"context_length_exceeded|ContextWindowExceededError"),
    # OpenAI, Azure, DeepSeek, vLLM, SGLang, OpenRouter ("This endpoint's …"), Fireworks, Mistral ("Prompt contains
    # 40000 tokens …, too large for model with 32768 maximum context length": BerriAI/litellm#21647).
    Row("context_window", "text", r"maximum context (?:length|limit)"),
    # OpenAI (anomalyco/opencode#6071), llama-cpp-python (rllm-team/rllm#55), MiniMax (MiniMax-AI/MiniMax-M2#119).
    Row("context_window", "text", r"exceeds? (?:the |this |its )?(?:model's )?context (?:window|length|size)"),
    Row("context_window", "text", r"context window exceeds limit"),
    # OpenAI, gpt-5: cline/cline#5474.
    Row("context_window", "text", r"input tokens exceed the configured limit"),
    # OpenAI: one text of more than a megabyte. Short limits are those of names, ids and descriptions; a picture that is
    # too large is no text.
    Row(
        "context_window",
        "text",
        r"Invalid '(?:messages|input)(?:\[\d+\])?(?:\.(?:content|output)(?:\[\d+\])?(?:\.text)?)?': string too long\. "
        r"Expected a string with maximum length \d{6}",
    ),
    # Groq, Cerebras ("… Current length is 42328 while limit is 40000", cline/cline#5140).
    Row("context_window", "text", r"reduce the length of (?:the|your) (?:messages|prompt|input)"),
    # Anthropic ("prompt is too long: 213462 tokens > 200000 maximum"), Ollama ("prompt too long; exceeded max context
    # length by 12 tokens"); Anthropic, input and cap together (continuedev/continue#6080).
    Row("context_window", "text", r"prompt (?:is )?too long"),
    Row("context_window", "text", r"exceeds? context limit"),
    # Google (google-gemini/gemini-cli#6678), Vertex ("… the input token count is 40000 but model only supports up to").
    Row("context_window", "text", r"input token count.{0,40}(?:exceeds|but (?:the )?model (?:only )?supports)"),
    # GitHub Copilot: earendil-works/pi, packages/ai, overflow.
    Row("context_window", "text", r"prompt token count of \d+ exceeds"),
    # xAI: cline/cline#3120.
    Row("context_window", "text", r"maximum prompt length is \d"),
    # Together and SGLang: QwenLM/Qwen3#1321. vLLM: vllm-project/vllm#12165, and "longer than the maximum model length".
    Row("context_window", "text", r"longer than the (?:model's context|maximum model) length"),
    Row("context_window", "text", r"too long to fit into the model"),
    # llama.cpp: ggml-org/llama.cpp#15780.
    Row("context_window", "text", r"exceeds the available context size"),
    # LM Studio: lmstudio-ai/lmstudio-bug-tracker#546, #237.
    Row("context_window", "text", r"greater than the context length|loaded with context length of only \d"),
    # TGI and TEI: huggingface/text-generation-inference#695, #628.
    Row("context_window", "text", r"`?inputs`? must have less than \d+ tokens"),
    Row("context_window", "text", r"`?inputs`? tokens \+ `?max_new_tokens`? must be <="),
    # Moonshot: MoonshotAI/kimi-cli#2011, MoonshotAI-Cookbook#18.
    Row("context_window", "text", r"exceeded model token limit|model max length exceeded"),
    # Alibaba's DashScope: QwenLM/qwen-code#98.
    Row("context_window", "text", r"range of input length should be"),
    # Zhipu, code 1261: zeroclaw-labs/zeroclaw#4124.
    Row("context_window", "text", r"prompt exceeds max length"),
    # Cohere: docs.cohere.com, "Errors".
    Row("context_window", "text", r"too many tokens: "),
    # Poolside by OpenRouter: earendil-works/pi#4943.
    Row("context_window", "text", r"maximum (?:allowed )?input length (?:of|is) \d+ tokens"),
    # Bedrock: aws-samples/bedrock-chat#95. Perplexity: BerriAI/litellm#21647.
    Row("context_window", "text", r"input is too long for requested model"),
    Row("context_window", "text", r"total length of all messages is too long"),
    # Embeddings: Jina (pingcap/autoflow#397), Voyage ("The example at index 0 in your batch has too many tokens and
    # …"), Nvidia ("Input length 704 exceeds …").
    Row("context_window", "text", r"single text cannot exceed \d+ tokens"),
    Row("context_window", "text", r"does not fit into the model's context window"),
    Row("context_window", "text", r"exceeds maximum allowed token size \d"),
    # -- the provider's filter ----------------------------------------------------------------------------------------
    # Azure (docs, "Content filtering"), Moonshot and Xiaomi as `type`. Azure's pictures: contentFilter.
    Row("content_filter", "code", "content_filter"),
    Row("content_filter", "code", "contentfilter"),
    Row("content_filter", "code", "responsibleaipolicyviolation"),
    # OpenAI: docs, "Image generation"; openai-python, ResponseError.code; its codes for biology and computer security.
    Row("content_filter", "code", "content_policy_violation"),
    Row("content_filter", "code", "image_content_policy_violation"),
    Row("content_filter", "code", "moderation_blocked"),
    Row("content_filter", "code", "bio_policy"),
    Row("content_filter", "code", "cyber_policy"),
    Row("content_filter", "code", "misalignment_policy_violation"),
    # Alibaba's DashScope: help.aliyun.com, "Error codes"; QwenLM/qwen-code#3145.
    Row("content_filter", "code", "data_inspection_failed"),
    Row("content_filter", "code", "datainspectionfailed"),
    Row("content_filter", "text", r"DataInspectionFailed|data may contain inappropriate content"),
    # LiteLLM's name for it.
    Row("content_filter", "text", r"ContentPolicyViolationError|content_policy_violation"),
    # Azure: "… due to the prompt triggering Azure OpenAI's content management policy".
    Row("content_filter", "text", r"triggering .{0,20}content management policy|ResponsibleAIPolicyViolation"),
    # OpenAI and Azure, pictures: "Your request was …", "Your task failed …", "Generated image was filtered …".
    Row("content_filter", "text", r"(?:rejected|failed|filtered) (?:as a result of|by) (?:our|the) safety system"),
    # OpenAI's reasoning models. Their code invalid_prompt alone says too little: OpenRouter uses it for malformed ones.
    Row("content_filter", "text", r"flagged as potentially violating our usage policy"),
    Row("content_filter", "text", r"limited access to this content for safety reasons"),
    Row("content_filter", "text", r"flagged for possible cybersecurity risk"),
    # Anthropic: anthropics/claude-code#6195. Bedrock's own models: "This request has been blocked by our content
    # filters".
    Row("content_filter", "text", r"blocked by (?:our )?content filter"),
    # Google's pictures: HKUDS/ViMax#20, epam/ai-dial-adapter-vertexai#66.
    Row("content_filter", "text", r"violated? Google's Responsible AI practices"),
    Row("content_filter", "text", r"response is blocked, as it may violate our policies"),
    # DeepSeek: deepseek-ai/awesome-deepseek-integration#13.
    Row("content_filter", "text", r"Content Exists Risk"),
    # Moonshot: MoonshotAI/kimi-cli#1002.
    Row("content_filter", "text", r"rejected because it was considered high risk"),
    # Zhipu, code 1301: docs.bigmodel.cn and docs.z.ai, "Error codes".
    Row("content_filter", "text", r"unsafe or sensitive content|不安全或敏感内容"),
    # MiniMax, 1026 and 1027: platform.minimax.io, "Error codes".
    Row("content_filter", "text", r"\b(?:input|output) new_sensitive"),
    # xAI, with status 403: UKGovernmentBEIS/inspect_ai#2267.
    Row("content_filter", "text", r"content violates usage guidelines"),
    # OpenRouter, with status 403: "… requires moderation on Amazon Bedrock. Your input was flagged for …".
    Row("content_filter", "text", r"requires moderation.{0,80}input was flagged"),
)
"""Codes before texts, and the first row of each kind that fits; a reason of None ends the search."""

_CODES = {row.what: row.reason for row in ROWS if row.where == "code"}
_TEXTS = [(re.compile(row.what, re.IGNORECASE | re.DOTALL), row.reason) for row in ROWS if row.where == "text"]


def refusal_reason(status: int, error: UpstreamError) -> FallbackReason | None:
    """What an error says of the reason; `status` is the HTTP status that it had, or stands for."""
    if status in OTHER_STATUSES:
        return None
    for code in (error.code, error.type):
        if code and code.lower() in _CODES:
            return _CODES[code.lower()]
    return reason_in(error.message)


def reason_in(message: str) -> FallbackReason | None:
    """The same of a message alone, where an answer with status 200 is an error in disguise."""
    read = message[:MAX_READ].replace("\u2019", "'")
    return next((reason for pattern, reason in _TEXTS if pattern.search(read)), None)
