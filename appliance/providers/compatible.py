"""Providers that speak OpenAI's protocol and differ from it only in data: one row each, with where the habit is told.

Callers of OpenAI's dialect are passed through undecoded only by the rows of PASSED: theirs need no rewriting.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from appliance.formats.openai import Upstream
from appliance.formats.openai_passthrough import OpenAIPassthrough
from appliance.formats.openai_quirks import ANY, Quirks, Thinking
from appliance.providers.base import Endpoint, Provider


def _any_of(*names: str) -> re.Pattern[str]:
    return re.compile("|".join(names), re.IGNORECASE)


GPT_OSS = _any_of("gpt-oss")
SAYS_THINKING = _any_of("deepseek", "granite", "kimi")
"""Models whose chat template is switched by `thinking`; the others by `enable_thinking`."""

UP_TO_HIGH = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
NONE_TO_HIGH = {"none": "none"} | UP_TO_HIGH
LOW_HIGH_MAX = {"minimal": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "high", "max": "max"}
ALWAYS_ON = {word: word for word in UP_TO_HIGH}
ON_OR_OFF = {"none": "none", "minimal": "none", "low": "high", "medium": "high", "high": "high"} | {
    word: "high" for word in ("xhigh", "max")
}

BY_TEMPLATE = (
    Thinking(GPT_OSS, "effort", UP_TO_HIGH),
    Thinking(SAYS_THINKING, "template", member="thinking"),
    Thinking(ANY, "template"),
)
"""vLLM's docs, "Reasoning outputs": templates are switched by chat_template_kwargs, gpt-oss by its effort."""

OPENAI_ONLY = frozenset({"audio", "function_call", "functions", "modalities", "verbosity", "web_search_options"})
"""What lenient servers pass over in silence."""

ONE_PLAIN_ANSWER = frozenset(
    {"frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed", "top_logprobs"}
)

PLAIN = Quirks(
    long_cap=None,
    metadata="never",
    developer=False,
    refusals=False,
    text_lists=False,
    signed=None,
    cache=None,
    audio="",
    files="",
    lacks=OPENAI_ONLY,
)
"""The protocol of 2023, which everybody speaks."""

MISTRAL = replace(
    PLAIN,
    seed="random_seed",
    required="any",
    asks_usage=False,
    metadata="always",
    user=False,
    names=False,
    call_ids="nine",
    bridge="OK",
    prefill={"prefix": True},
    reasoning="chunks",
    max_images=8,
    audio="text",
    files="document",
    thinking=(
        Thinking(_any_of("magistral"), "prompt_mode", ALWAYS_ON),
        Thinking(_any_of("mistral-small", "mistral-medium"), "effort", ON_OR_OFF),
        Thinking(ANY, "effort", NONE_TO_HIGH),
    ),
    lacks=OPENAI_ONLY | frozenset({"logprobs", "top_logprobs"}),
    extras=frozenset({"guardrails", "prediction", "prompt_cache_key", "prompt_mode", "safe_prompt"}),
)

QWEN = replace(
    PLAIN,
    user=False,
    names=False,
    prefill={"partial": True},
    reasoning="reasoning_content",
    cache=ANY,
    cache_ttl=False,
    audio="data_url",
    thinking=(Thinking(ANY, "budget"),),
    thinks_in_streams_only=re.compile(r"^(?:qwq|qvq|qwen3-[\d.]+b(?!.*-(?:instruct|thinking)))", re.IGNORECASE),
    forcing_stops_thinking=True,
    top_k=True,
    tool_choices=("auto", "none", "tool"),
    json_schema=_any_of(r"qwen3\.[7-9]", r"qwen[4-9]"),
    json_by_tool=True,
    lacks=OPENAI_ONLY | frozenset({"frequency_penalty", "logit_bias"}),
)

DEEPSEEK = replace(
    PLAIN,
    user=False,
    prefill={"prefix": True},
    reasoning="reasoning_content",
    reasoning_needed=True,
    thinking=(Thinking(ANY, "switch_and_effort", {"none": "none"} | LOW_HIGH_MAX),),
    forcing_stops_thinking=True,
    json_schema=None,
    json_by_tool=True,
    lacks=OPENAI_ONLY | frozenset({"logit_bias", "n", "parallel_tool_calls", "seed"}),
)

GROQ = replace(
    PLAIN,
    long_cap=ANY,
    names=False,
    prefill={},
    reasoning="reasoning",
    reasoning_models=_any_of("gpt-oss", "qwen"),
    max_images=5,
    thinking=(
        Thinking(GPT_OSS, "effort", UP_TO_HIGH),
        Thinking(_any_of("qwen"), "effort", {"none": "none"} | dict.fromkeys(UP_TO_HIGH, "default")),
    ),
    json_schema=_any_of("gpt-oss", "kimi", "llama-4"),
    json_by_tool=True,
    lacks=OPENAI_ONLY | frozenset({"logit_bias", "logprobs", "n", "top_logprobs"}),
    extras=frozenset(
        {
            "citation_options",
            "compound_custom",
            "disable_tool_validation",
            "documents",
            "include_reasoning",
            "reasoning_format",
            "search_settings",
            "service_tier",
        }
    ),
    # Without it these models' thinking stands inside the text.
    defaults=((_any_of("qwen"), {"reasoning_format": "parsed"}, ("include_reasoning", "reasoning_format")),),
)

XAI = Quirks(
    long_cap=ANY,
    metadata="never",
    refusals=False,
    reasoning="reasoning_content",
    signed=None,
    cache=None,
    audio="",
    files="",
    thinking=(
        Thinking(
            _any_of("grok-3-mini"),
            "effort",
            {"minimal": "low", "low": "low"} | dict.fromkeys(("medium", "high", "xhigh", "max"), "high"),
        ),
        Thinking(re.compile(r"grok-(?:4\.[3-9]|[5-9]|latest)(?!.*non-reasoning)"), "effort", NONE_TO_HIGH),
    ),
    lacks=OPENAI_ONLY | frozenset({"logit_bias"}),
    model_lacks=(
        (
            re.compile(r"grok-(?:3-mini|4|code|[5-9]|latest)(?!.*non-reasoning)"),
            frozenset({"frequency_penalty", "presence_penalty", "stop"}),
        ),
    ),
)

OPENROUTER = Quirks(
    long_cap=None,
    metadata="never",
    prefill={},
    reasoning="details",
    opaque=(
        (_any_of("claude"), "anthropic"),
        (_any_of("gemini"), "google"),
        (re.compile(r"^~?openai/"), "responses"),
    ),
    signed=None,
    cache=_any_of("claude", "gemini", "qwen"),
    files="object_or_url",
    tool_images=True,
    thinking=(Thinking(ANY, "effort_object", NONE_TO_HIGH | {"minimal": "minimal", "xhigh": "xhigh", "max": "xhigh"}),),
    top_k=True,
)

PERPLEXITY = replace(
    PLAIN,
    user=False,
    names=False,
    alternates=True,
    thinking=(Thinking(_any_of("reasoning", "deep-research"), "effort", UP_TO_HIGH | {"minimal": "minimal"}),),
    top_k=True,
    json_object=False,
    lacks=(OPENAI_ONLY - {"web_search_options"})
    | {"logit_bias", "logprobs", "n", "parallel_tool_calls", "seed", "tools", "top_logprobs"},
)

COHERE = replace(
    PLAIN,
    user=False,
    names=False,
    thinking=(Thinking(ANY, "effort", ON_OR_OFF),),
    tool_choices=("auto", "none", "required"),
    lacks=OPENAI_ONLY | frozenset({"logit_bias", "logprobs", "n", "parallel_tool_calls", "top_logprobs"}),
    extras=frozenset(),
)

GEMINI = replace(
    PLAIN,
    user=False,
    names=False,
    signed=ANY,
    unsigned=(re.compile(r"gemini-[3-9]"), "skip_thought_signature_validator"),
    audio="object",
    thinking=(Thinking(ANY, "effort", NONE_TO_HIGH | {"minimal": "minimal"}),),
    lacks=OPENAI_ONLY | frozenset({"logit_bias", "parallel_tool_calls"}),
    extras=frozenset({"extra_body"}),
)

CEREBRAS = replace(
    PLAIN,
    long_cap=ANY,
    reasoning="reasoning",
    images=False,
    thinking=(Thinking(GPT_OSS, "effort", UP_TO_HIGH), Thinking(ANY, "effort")),
    lacks=OPENAI_ONLY | frozenset({"frequency_penalty", "logit_bias", "n", "presence_penalty"}),
    extras=frozenset({"clear_thinking", "disable_reasoning", "prediction", "reasoning_format", "service_tier"}),
)

MOONSHOT = replace(
    PLAIN,
    prefill={"partial": True},
    reasoning="reasoning_content",
    reasoning_needed=True,
    thinking=(
        Thinking(_any_of(r"kimi-k2\.[56](?!\d)"), "switch"),
        Thinking(_any_of("kimi-k2"), "switch", ALWAYS_ON),
        Thinking(_any_of("kimi"), "effort", LOW_HIGH_MAX),
    ),
    forcing_stops_thinking=True,
    lacks=OPENAI_ONLY | frozenset({"logit_bias", "logprobs", "parallel_tool_calls", "seed", "strict", "top_logprobs"}),
    model_lacks=((_any_of("kimi"), frozenset({"frequency_penalty", "n", "presence_penalty"})),),
    extras=frozenset({"prompt_cache_key", "safety_identifier", "thinking"}),
)

ZHIPU = replace(
    PLAIN,
    user=False,
    names=False,
    reasoning="reasoning_content",
    thinking=(Thinking(ANY, "switch"),),
    tool_choices=("auto",),
    json_schema=None,
    lacks=OPENAI_ONLY | ONE_PLAIN_ANSWER | {"parallel_tool_calls"},
    extras=frozenset({"do_sample", "request_id", "thinking", "tool_stream", "user_id"}),
)

MINIMAX = replace(
    PLAIN,
    reasoning="details",
    thinking=(),
    json_schema=None,
    json_object=False,
    lacks=OPENAI_ONLY
    | frozenset({"frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed", "top_logprobs"}),
    # Without it the thinking stands inside the text.
    defaults=((ANY, {"reasoning_split": True}, ("reasoning_split",)),),
)

SAMBANOVA = replace(
    PLAIN,
    thinking=BY_TEMPLATE,
    top_k=True,
    lacks=OPENAI_ONLY
    | frozenset({"frequency_penalty", "logit_bias", "logprobs", "n", "presence_penalty", "seed", "top_logprobs"}),
)

SELF_HOSTED = replace(PLAIN, reasoning="reasoning_content", audio="object", thinking=BY_TEMPLATE, top_k=True)

ROWS: dict[str, Quirks] = {
    # docs.mistral.ai, chat completion: a strict schema, thinking chunks in the content; error 3230 on user after tool.
    "mistral": MISTRAL,
    # help.aliyun.com, "OpenAI compatible - Chat", "Deep thinking", "Partial mode", "Context cache".
    "qwen": QWEN,
    # api-docs.deepseek.com, "Thinking Mode": reasoning_content must come back; "JSON Output": json_object only.
    "deepseek": DEEPSEEK,
    # console.groq.com/docs/openai, "Currently Unsupported OpenAI Features", and docs/reasoning.
    "groq": GROQ,
    # docs.x.ai, "Reasoning": effort by model; penalties and stop are refused while thinking.
    "xai": XAI,
    # openrouter.ai/docs, "Reasoning Tokens" (reasoning_details), "Prompt Caching", "PDF inputs".
    "openrouter": OPENROUTER,
    # docs.together.ai, "Reasoning": template switches and top_k.
    "together": replace(PLAIN, reasoning="reasoning", thinking=BY_TEMPLATE, top_k=True),
    # docs.fireworks.ai, "Reasoning": reasoning_effort with none; reasoning_content comes back.
    "fireworks": replace(PLAIN, reasoning="reasoning_content", top_k=True),
    # docs.perplexity.ai, chat completions: no tools, roles alternate, json_schema only.
    "perplexity": PERPLEXITY,
    # docs.cohere.com, "Compatibility API": the list of unsupported parameters, which it ignores in silence.
    "cohere": COHERE,
    # ai.google.dev, "OpenAI compatibility": thought signatures in extra_content; unknown names are refused.
    "gemini": GEMINI,
    # inference-docs.cerebras.ai, "OpenAI Compatibility": text only, four refused members.
    "cerebras": CEREBRAS,
    # docs.api.nvidia.com: NIM serves by vLLM.
    "nvidia": replace(PLAIN, reasoning="reasoning_content", thinking=BY_TEMPLATE),
    # docs.sambanova.ai, "OpenAI compatibility": the list of ignored parameters.
    "sambanova": SAMBANOVA,
    # docs.deepinfra.com, chat completions: reasoning_effort, top_k.
    "deepinfra": replace(PLAIN, reasoning="reasoning_content", top_k=True),
    # platform.kimi.ai, "Thinking effort", "Partial Mode": forced tools are refused while thinking.
    "moonshot": MOONSHOT,
    # docs.z.ai, chat completion: thinking {type}; tool_choice is auto only.
    "zhipu": ZHIPU,
    # platform.minimax.io, "OpenAI API compatible": reasoning_split; the list of ignored parameters.
    "minimax": MINIMAX,
    # docs.siliconflow.com, chat completions: enable_thinking and thinking_budget.
    "siliconflow": replace(PLAIN, reasoning="reasoning_content", thinking=(Thinking(ANY, "budget"),), top_k=True),
    # huggingface.co/docs/inference-providers: a router in front of many; nothing beyond the protocol can be relied on.
    "huggingface": PLAIN,
    "voyage": PLAIN,
    "jina": PLAIN,
    "tei": PLAIN,
    # docs.github.com, "REST API endpoints for models inference": OpenAI's own shape.
    "github": Quirks(files="", audio=""),
    # docs.vllm.ai, "OpenAI-Compatible Server": extra parameters.
    "vllm": replace(
        SELF_HOSTED,
        reasoning="reasoning",
        prefill={},
        prefill_options={"continue_final_message": True, "add_generation_prompt": False},
    ),
    # docs.sglang.ai, "OpenAI APIs - Completions".
    "sglang": replace(SELF_HOSTED, prefill={}, prefill_options={"continue_final_message": True}),
    # llama.cpp, tools/server/README.md: a final assistant message is continued.
    "llamacpp": replace(SELF_HOSTED, prefill={}),
    # docs.ollama.com, "OpenAI compatibility": tool_choice, n, logit_bias are ignored in silence.
    "ollama": replace(
        SELF_HOSTED,
        reasoning="reasoning",
        prefill={},
        audio="",
        top_k=False,
        thinking=(Thinking(ANY, "effort", NONE_TO_HIGH),),
        tool_choices=("auto",),
        lacks=OPENAI_ONLY | frozenset({"logit_bias", "n", "parallel_tool_calls"}),
    ),
    # lmstudio.ai/docs, "OpenAI Compatibility Endpoints" and "Tool Use".
    "lmstudio": replace(
        SELF_HOSTED,
        audio="",
        thinking=(Thinking(GPT_OSS, "effort", UP_TO_HIGH),),
        tool_choices=("auto", "none", "required"),
        lacks=OPENAI_ONLY | frozenset({"n"}),
    ),
    # huggingface.co/docs/text-generation-inference, "Messages API", "Guidance": the schema is the grammar's `value`.
    "tgi": replace(
        PLAIN,
        prefill={},
        thinking=(),
        schema_member="value",
        json_object=False,
        lacks=OPENAI_ONLY | frozenset({"parallel_tool_calls"}),
    ),
    # localai.io, "Text generation": OpenAI's protocol over llama.cpp.
    "localai": replace(SELF_HOSTED, reasoning="reasoning", thinking=(Thinking(ANY, "effort"),)),
}

PASSED = ("github", "openrouter", "xai")


class Compatible(Provider):
    """One row."""

    def __init__(self, type_: str, quirks: Quirks) -> None:
        self.type = type_
        self.format_name = "openai" if type_ in PASSED else type_
        self.format = Upstream(quirks)
        self.passthrough = OpenAIPassthrough(quirks) if type_ in PASSED else None

    def url(self, endpoint: Endpoint, operation: str, upstream_model: str, stream: bool) -> str:
        own = OWN_URLS.get((self.type, operation))
        if own is None:
            return super().url(endpoint, operation, upstream_model, stream)
        end, path = own
        return endpoint.base_url.removesuffix(end) + path


OWN_URLS = {
    ("cohere", "embed"): ("/compatibility/v1", "/v2/embed"),
    ("cohere", "rerank"): ("/compatibility/v1", "/v2/rerank"),
    ("tei", "rerank"): ("/v1", "/rerank"),
}
"""What stands beside the OpenAI-like part of a service: the end of the address that goes, and the path that comes."""

COMPATIBLE: list[Provider] = [Compatible(type_, quirks) for type_, quirks in ROWS.items()]
