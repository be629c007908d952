"""Random causal language models of two layers, with a tokenizer of whole words, as checkpoint folders."""

from pathlib import Path
from typing import Any

WORDS = ("the", "parcel", "is", "late", "my", "invoice", "was", "charged", "twice", "where", "again")
TEXTS = (
    "the parcel is late",
    "my invoice was charged twice",
    "where is my parcel",
    "the invoice was late again",
    "is the parcel charged again",
)
KINDS = ("gpt2", "llama")
MOST_TOKENS = 16


def write_language_model(folder: Path, kind: str) -> Path:
    """A checkpoint of a random GPT-2 (tied head, no padding token) or Llama (free head)."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["<end>", "<unk>", *WORDS]
    tokenizer = Tokenizer(
        models.WordLevel(dict(zip(names, range(len(names)), strict=True)), unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<end>", model_max_length=MOST_TOKENS
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    model: Any
    if kind == "gpt2":
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=len(names), n_embd=16, n_layer=2, n_head=2, n_positions=MOST_TOKENS,
                bos_token_id=0, eos_token_id=0, initializer_range=0.3,
            )
        )  # fmt: skip
    else:
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=len(names), hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, intermediate_size=24, max_position_embeddings=MOST_TOKENS,
                bos_token_id=0, eos_token_id=0, initializer_range=0.3,
            )
        )  # fmt: skip
    model.save_pretrained(folder)
    return folder
