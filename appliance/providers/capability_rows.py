"""ROWS: which models cannot do what, as data. Only what is known of a provider stands here; nothing is worked out.

A row speaks of all models whose names one of its globs fits (in small letters, a leading `models/` apart). Of the rows
that fit, the one whose glob fixes more characters has the last word on each feature that it names.
"""

from __future__ import annotations

from typing import NamedTuple

from appliance.formats.features import FEATURES


class Row(NamedTuple):
    """Services and globs are separated by spaces. `has` takes back what a less specific row took away."""

    services: str
    models: str
    lacks: frozenset[str] = frozenset()
    has: frozenset[str] = frozenset()
    why: str = ""


def _set(*names: str) -> frozenset[str]:
    """Feature names, several in one text where that reads better."""
    return frozenset(word for name in names for word in name.split())


EVERYTHING = frozenset(FEATURES)
OPERATIONS = _set("embeddings dimensions images_out transcription speech rerank")
SAMPLING = _set("temperature top_p top_k penalties logprobs")
TOOLS = _set("tools tool_choice parallel_tool_calls")
SIGHT = _set("images image_urls")
MEDIA = SIGHT | _set("files audio")


def _only(services: str, models: str, features: str, why: str) -> Row:
    """Models that are no chat models: they can do these few things and nothing else."""
    return Row(services, models, EVERYTHING - _set(features), _set(features), why)


ROWS: tuple[Row, ...] = (
    # -- OpenAI, and Azure where a deployment bears its model's name --------------------------------------------------
    Row("openai", "*", _set("top_k prefill cache_hints rerank")),
    Row("azure", "*", _set("top_k prefill cache_hints rerank"), why="a deployment's name may say nothing of its model"),
    Row("openai azure", "gpt-* chatgpt-*", OPERATIONS | _set("audio")),
    Row("openai azure", "gpt-3.5*", MEDIA | _set("json_schema reasoning")),
    Row("openai azure", "gpt-4 gpt-4-0* gpt-4-1* gpt-4-32k*", MEDIA | _set("json_schema reasoning")),
    Row("openai azure", "gpt-4 gpt-4-0613* gpt-4-32k*", _set("json_object")),
    Row("openai azure", "gpt-4-turbo*", _set("files json_schema reasoning")),
    Row("openai azure", "gpt-4o* gpt-4.1* gpt-4.5* chatgpt-4o*", _set("reasoning")),
    Row("openai azure", "gpt-4o-2024-05-13", _set("json_schema")),
    Row("openai azure", "chatgpt-4o*", TOOLS),
    Row(
        "openai azure", "gpt-audio* gpt-4o-audio* gpt-4o-mini-audio*", SIGHT | _set("files json_schema"), _set("audio")
    ),
    Row("openai azure", "gpt-4o-search* gpt-4o-mini-search* gpt-5-search*", TOOLS | SAMPLING | _set("n seed stop")),
    Row(
        "openai azure",
        "o1 o1-* o3 o3-* o4-*",
        OPERATIONS | SAMPLING | _set("audio parallel_tool_calls"),
        why="o-series: samples as it likes, one call at a time",
    ),
    Row("openai azure", "o1-mini* o1-preview*", TOOLS | MEDIA | _set("json_schema json_object reasoning n stop")),
    Row("openai azure", "o3-mini*", MEDIA),
    Row("openai azure", "o3 o3-2* o3-pro* o4-mini*", _set("stop")),
    Row("openai azure", "gpt-5*", SAMPLING | _set("stop"), why="samples as it likes while it thinks"),
    Row(
        "openai azure",
        "gpt-5.[1-4]*",
        has=_set("temperature top_p logprobs stop"),
        why="takes them when reasoning_effort is none, its default",
    ),
    Row("openai azure", "gpt-5*-codex* gpt-5*-pro*", _set("temperature top_p logprobs stop")),
    Row("openai azure", "gpt-5*-chat*", _set("reasoning"), _set("temperature top_p penalties logprobs stop")),
    _only("openai azure", "text-embedding-*", "embeddings dimensions", "embedding model"),
    Row("openai azure", "text-embedding-ada-*", _set("dimensions")),
    _only("openai azure", "dall-e-* gpt-image-* chatgpt-image-*", "images_out streaming n", "image model"),
    _only(
        "openai azure",
        "whisper* gpt-4o-transcribe* gpt-4o-mini-transcribe*",
        "transcription streaming temperature",
        "transcription model",
    ),
    _only("openai azure", "tts-* gpt-4o-mini-tts*", "speech streaming", "speech model"),
    # -- Anthropic ----------------------------------------------------------------------------------------------------
    Row("anthropic", "*", OPERATIONS | _set("n seed penalties logprobs audio")),
    Row("anthropic", "claude-2* claude-instant*", TOOLS | MEDIA | _set("reasoning json_schema json_object")),
    Row("anthropic", "claude-3-opus* claude-3-sonnet* claude-3-haiku*", _set("files reasoning")),
    Row("anthropic", "claude-3-5-*", _set("reasoning")),
    Row(
        "anthropic",
        "claude-opus-4[-.]6* claude-sonnet-4[-.]6*",
        _set("prefill"),
        why="the conversation must end with the user",
    ),
    Row(
        "anthropic",
        "claude-opus-4[-.][7-9] claude-opus-4[-.][7-9][-@]* claude-opus-[5-9]* claude-sonnet-[5-9]* "
        "claude-haiku-[5-9]* claude-fable* claude-mythos*",
        _set("temperature top_p top_k prefill"),
        why="samples as it likes; effort steers it",
    ),
    Row(
        "anthropic",
        "claude-opus-5[-.]5* claude-sonnet-5[-.]5* claude-fable-5[-.][1-9]* claude-mythos-5[-.][1-9]*",
        _set("tool_choice"),
        why="always thinks, and then cannot be made to call",
    ),
    # -- Google -------------------------------------------------------------------------------------------------------
    Row(
        "google",
        "*",
        _set("parallel_tool_calls penalties prefill cache_hints transcription speech rerank"),
        why="no way to ask for one call at a time",
    ),
    Row(
        "gemini",
        "*",
        _set("parallel_tool_calls penalties top_k prefill files cache_hints transcription speech rerank"),
    ),
    Row("google gemini", "gemini-*", _set("embeddings dimensions images_out")),
    Row("google gemini", "gemini-1.5* gemini-2.0*", _set("reasoning")),
    Row("google gemini", "gemini-2.0*", has=_set("penalties")),
    Row("google gemini", "gemini-2.0-flash-thinking*", has=_set("reasoning")),
    Row("google gemini", "gemini-*-image*", TOOLS | _set("json_schema json_object streaming"), _set("images_out")),
    Row("google gemini", "gemma-*", TOOLS | _set("json_schema json_object files audio reasoning")),
    _only(
        "google gemini",
        "gemini-embedding* text-embedding-* text-multilingual-embedding-*",
        "embeddings dimensions",
        "embedding model",
    ),
    _only("google gemini", "imagen-*", "images_out n", "image model"),
    # -- Mistral ------------------------------------------------------------------------------------------------------
    Row("mistral", "*", _set("top_k logprobs cache_hints images_out rerank")),
    Row(
        "mistral",
        "mistral-large* mistral-medium* mistral-small* mistral-tiny* magistral-* ministral-* codestral-* devstral-* "
        "pixtral-* open-mi* open-codestral*",
        _set("audio embeddings dimensions transcription speech"),
    ),
    Row("mistral", "mistral-large* ministral-* codestral-* devstral-* pixtral-*", _set("reasoning")),
    Row(
        "mistral",
        "mistral-large-24* mistral-tiny* codestral-* open-mi* open-codestral*",
        SIGHT | _set("files reasoning"),
    ),
    _only("mistral", "mistral-embed*", "embeddings", "embedding model"),
    _only("mistral", "codestral-embed*", "embeddings dimensions", "embedding model"),
    Row("mistral", "voxtral-*", SIGHT | _set("files reasoning embeddings dimensions")),
    _only("mistral", "voxtral-*-tts*", "speech streaming", "speech model"),
    # -- Qwen (DashScope's compatible mode) ---------------------------------------------------------------------------
    Row("qwen", "*", _set("files images_out transcription speech")),
    Row(
        "qwen",
        "qwen-max* qwen-plus* qwen-turbo* qwen-flash* qwen3-max* qwen3-coder* qwen2.5-*b-instruct* qwq*",
        SIGHT | _set("audio embeddings dimensions rerank"),
    ),
    Row("qwen", "qwen-max* qwen2.5-* qwen*-coder*", _set("reasoning")),
    Row("qwen", "qwen*-vl-* qvq-*", _set("audio")),
    _only("qwen", "text-embedding-v*", "embeddings dimensions", "embedding model"),
    _only("qwen", "text-embedding-v[12]", "embeddings", "embedding model"),
    _only("qwen", "gte-rerank* qwen3-rerank*", "rerank", "rerank model"),
    # -- those that differ from OpenAI in data only -------------------------------------------------------------------
    Row("deepseek", "*", OPERATIONS | _set("top_k n seed files audio cache_hints parallel_tool_calls")),
    Row("deepseek", "deepseek-chat* deepseek-reasoner* deepseek-coder* deepseek-r1*", SIGHT),
    Row(
        "deepseek",
        "deepseek-reasoner* deepseek-r1*",
        _set("tool_choice logprobs"),
        why="temperature, top_p and penalties are taken and have no effect",
    ),
    Row("deepseek", "deepseek-r1*", TOOLS | _set("json_schema")),
    Row(
        "groq",
        "*",
        OPERATIONS - _set("transcription speech")
        | _set("n logprobs penalties top_k files audio cache_hints reasoning"),
    ),
    Row("groq", "openai/gpt-oss* qwen/* qwen-*", has=_set("reasoning")),
    Row("groq", "llama-* llama3-* gemma* mixtral-* allam-* moonshotai/* openai/gpt-oss* deepseek-r1*", SIGHT),
    Row("groq", "llama-3.2-*-vision*", has=SIGHT),
    _only("groq", "whisper-* distil-whisper-*", "transcription temperature", "transcription model"),
    _only("groq", "playai-tts* canopylabs/orpheus*", "speech", "speech model"),
    Row("xai", "*", (OPERATIONS - _set("images_out")) | _set("top_k prefill files audio cache_hints")),
    Row("xai", "grok-2* grok-3* grok-code*", _set("images_out")),
    Row("xai", "grok-2-1212 grok-3* grok-code*", SIGHT),
    Row("xai", "grok-2* grok-3 grok-3-fast* grok-4* grok-code*", _set("reasoning"), why="no effort can be set"),
    Row(
        "xai",
        "grok-3-mini* grok-[4-9]* grok-code* grok-latest*",
        _set("penalties stop"),
        why="refused by models that think",
    ),
    Row("xai", "grok-4.[3-9]*", has=_set("reasoning")),
    Row("xai", "*-non-reasoning*", has=_set("penalties stop")),
    _only("xai", "grok-*-image* grok-imagine*", "images_out n", "image model"),
    Row(
        "perplexity",
        "*",
        _set("n seed stop penalties logprobs top_k prefill audio cache_hints images_out transcription speech rerank"),
    ),
    Row("perplexity", "sonar* perplexity/sonar*", TOOLS | _set("json_object"), why="searches by itself"),
    Row("perplexity", "sonar sonar-pro perplexity/sonar", _set("reasoning embeddings dimensions")),
    Row("cerebras", "*", OPERATIONS | MEDIA | _set("n penalties top_k prefill cache_hints")),
    Row("cohere", "*", _set("n logprobs parallel_tool_calls top_k prefill audio files cache_hints images_out speech")),
    Row("cohere", "command-*", OPERATIONS | SIGHT),
    Row("cohere", "command-a-vision* command-a-plus*", has=SIGHT),
    Row("cohere", "command-r* command-a-03-2025 command-a-vision* command-light*", _set("reasoning")),
    _only("cohere", "embed-*", "embeddings dimensions images", "embedding model"),
    Row("cohere", "embed-english-v[23]* embed-multilingual-v[23]*", _set("dimensions")),
    _only("cohere", "rerank-*", "rerank", "rerank model"),
    _only("jina tei", "*", "embeddings dimensions rerank", "no chat models"),
    _only("voyage", "*", "embeddings dimensions rerank", "no chat models"),
    _only("voyage", "rerank-*", "rerank", "rerank model"),
    Row("together fireworks deepinfra siliconflow", "*", _set("prefill files audio cache_hints")),
    Row("nvidia huggingface", "*", _set("prefill files audio top_k cache_hints")),
    Row("github", "*", _set("prefill files audio top_k cache_hints")),
    Row("sambanova", "*", _set("prefill files audio cache_hints n seed penalties logprobs")),
    Row("moonshot", "*", _set("files audio top_k cache_hints seed logprobs parallel_tool_calls")),
    Row("moonshot", "kimi-*", _set("n penalties")),
    Row(
        "zhipu",
        "*",
        _set("prefill files audio top_k cache_hints n seed penalties logprobs json_schema")
        | _set("parallel_tool_calls tool_choice"),
    ),
    Row(
        "minimax",
        "*",
        _set("prefill files audio top_k cache_hints n seed penalties logprobs reasoning json_schema json_object"),
    ),
    # -- servers of one's own, by what the server cannot do; of the models nothing is assumed -------------------------
    Row("vllm sglang llamacpp", "*", _set("files cache_hints")),
    Row("localai", "*", _set("files prefill cache_hints")),
    Row(
        "ollama",
        "*",
        _set("n image_urls files audio top_k tool_choice parallel_tool_calls cache_hints rerank"),
    ),
    Row("lmstudio", "*", _set("n files audio prefill cache_hints rerank")),
    Row(
        "tgi",
        "*",
        _set("n files audio top_k parallel_tool_calls json_object reasoning cache_hints embeddings dimensions rerank"),
    ),
    Row("demo", "*", MEDIA | _set("logprobs"), why="it reads text and counts words"),
)
