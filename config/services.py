"""What a provider's `type` may be: SERVICES, one row a type. What differs only in data stands here and nowhere else.

Services with a site of their own for China (qwen, moonshot, zhipu, minimax, siliconflow) have the other one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

Dialect = Literal["openai", "anthropic", "google", "demo"]
Api = Literal["chat", "responses"]


@dataclass(frozen=True, slots=True)
class Service:
    """What is known about all providers of one type."""

    type: str
    title: str
    base_url: str = ""
    """Where it is when the YAML says nothing; empty: the YAML has to."""
    key_variable: str = ""
    """The environment variable in which people keep its key; for hints."""
    needs_key: bool = True
    dialect: Dialect = "openai"
    self_hosted: bool = False
    api: Api = "chat"
    """Which of OpenAI's APIs is called for chats when the YAML says nothing."""
    has_responses: bool = False
    """Whether `api` may be written, because the service has OpenAI's Responses API too."""
    prices: str = ""
    """The service's id in the price library; empty: `price: auto` is not known."""

    @property
    def needs_base_url(self) -> bool:
        return not self.base_url and self.dialect != "demo"


def _hosted(type: str, title: str, base_url: str, variable: str, prices: str = "", responses: bool = False) -> Service:
    """A service that is called over the internet with OpenAI's chat completions."""
    return Service(type, title, base_url, variable, has_responses=responses, prices=prices)


def _own(type: str, title: str, port: int, responses: bool = False) -> Service:
    """A server that operators run themselves, with a port that everybody knows."""
    url = f"http://127.0.0.1:{port}/v1"
    return Service(type, title, url, needs_key=False, self_hosted=True, has_responses=responses)


_ROWS = (
    _hosted("openai", "OpenAI", "https://api.openai.com/v1", "OPENAI_API_KEY", "openai", True),
    Service(
        "anthropic",
        "Anthropic",
        "https://api.anthropic.com",
        "ANTHROPIC_API_KEY",
        dialect="anthropic",
        prices="anthropic",
    ),
    _hosted("azure", "Azure OpenAI", "", "AZURE_OPENAI_API_KEY", "azure", True),
    _hosted("mistral", "Mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral"),
    Service(
        "google",
        "Google: the Gemini API, or Vertex AI",
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
        dialect="google",
        prices="google",
    ),
    _hosted(
        "qwen",
        "Qwen: Alibaba Cloud Model Studio",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
    ),
    _hosted("deepseek", "DeepSeek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek"),
    _hosted("groq", "Groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq", True),
    _hosted("xai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY", "x-ai", True),
    _hosted("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter", True),
    _hosted("together", "Together AI", "https://api.together.ai/v1", "TOGETHER_API_KEY", "together"),
    _hosted("fireworks", "Fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "fireworks", True),
    Service(
        "perplexity",
        "Perplexity: the Agent API",
        "https://api.perplexity.ai/v1",
        "PERPLEXITY_API_KEY",
        api="responses",
        has_responses=True,
        prices="perplexity",
    ),
    _hosted("cohere", "Cohere", "https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY", "cohere"),
    _hosted(
        "gemini",
        "Google Gemini in OpenAI's dialect",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        "google",
    ),
    _hosted("cerebras", "Cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cerebras"),
    _hosted("nvidia", "NVIDIA NIM", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    _hosted("sambanova", "SambaNova", "https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    _hosted("deepinfra", "DeepInfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    _hosted("moonshot", "Moonshot AI (Kimi)", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY", "moonshotai"),
    _hosted("zhipu", "Zhipu AI (Z.ai, GLM)", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "zai"),
    _hosted("minimax", "MiniMax", "https://api.minimax.io/v1", "MINIMAX_API_KEY", "minimax"),
    _hosted("siliconflow", "SiliconFlow", "https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY"),
    _hosted("huggingface", "Hugging Face Inference Providers", "https://router.huggingface.co/v1", "HF_TOKEN"),
    _hosted("github", "GitHub Models", "https://models.github.ai/inference", "GITHUB_TOKEN"),
    _hosted("voyage", "Voyage AI: embeddings and rerank", "https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
    _hosted("jina", "Jina AI: embeddings and rerank", "https://api.jina.ai/v1", "JINA_API_KEY"),
    _own("vllm", "vLLM", 8000, True),
    _own("sglang", "SGLang", 30000),
    _own("llamacpp", "llama.cpp", 8080),
    _own("ollama", "Ollama", 11434, True),
    _own("lmstudio", "LM Studio", 1234, True),
    _own("tgi", "Text Generation Inference", 8080),
    _own("tei", "Text Embeddings Inference", 8080),
    _own("localai", "LocalAI", 8080),
    Service("custom", "any other server that speaks OpenAI's protocol", needs_key=False, has_responses=True),
    Service("demo", "answers by itself, calls nobody", needs_key=False, dialect="demo"),
)

SERVICES: Mapping[str, Service] = {row.type: row for row in _ROWS}
"""Type → what is known about it, in the order in which people read them."""

if TYPE_CHECKING:
    ServiceType: TypeAlias = str
else:
    ServiceType = Literal[tuple(SERVICES)]
"""What `type` may be, as a closed set."""
