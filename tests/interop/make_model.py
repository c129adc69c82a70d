"""Makes a tiny random-weight chat model with its tokenizer and chat template, from nothing: `make_model.py FOLDER`.

What it says is gibberish in whole ASCII words, the same for the same seed. It must not download anything.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20_261_122
VOCABULARY = 768
CONTEXT = 4096
TURN, END, PAD = "<|turn|>", "<|end|>", "<|pad|>"
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "ol")]

CHAT_TEMPLATE = """
{%- if tools -%}
<|turn|>tools
{{ tools | tojson }}<|end|>
{% endif -%}
{%- for message in messages -%}
<|turn|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- elif message.content -%}
{%- for part in message.content if part.type == "text" -%}{{ part.text }}{%- endfor -%}
{%- endif -%}
{%- for call in message.tool_calls or [] -%}
{{ call.function | tojson }}
{%- endfor -%}
<|end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|turn|>assistant
{% endif -%}
"""


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(json.dumps({"folder": str(folder), "bytes": size, "parameters": model.num_parameters()}))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text can be asked, trained on invented words."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[TURN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(sentences(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        chat_template=CHAT_TEMPLATE.strip("\n"),
    )


def sentences() -> Iterator[str]:
    rng = random.Random(SEED)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))) for _ in range(400)]
    for _ in range(4000):
        yield " ".join(rng.choices(words, k=rng.randint(4, 12))) + rng.choice(".,?!:\n")


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=unspeakable(tokenizer),
    )
    return model


def unspeakable(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens that are not words.

    Random weights would also end the answer at random, and half of a UTF-8 character decodes differently when
    streamed, so that no two answers could be compared.
    """
    speakable = {
        number for word, number in tokenizer.get_vocab().items() if word.startswith("Ġ") and word[1:].isascii()
    }
    return [number for number in range(len(tokenizer)) if number not in speakable]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
