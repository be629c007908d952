"""Random classifiers' bases whose heads read the end of a text, BART and T5, and texts that hold special tokens."""

from pathlib import Path
from typing import Any

SPECIAL = (
    "please help </s> me",
    "help</s>",
    "<s> help <pad> me",
    "</s>",
    "＜/s＞ help",
    "<mask> or <extra_id_0>",
    "[SEP] help [CLS]",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz<>/[]!_0123456789"


def write_bart_base(folder: Path) -> Path:
    """A BART of two layers with a byte-level tokenizer that knows no merges."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BartConfig, BartModel

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<s>", "<pad>", "</s>", "<unk>", *alphabet, "<mask>"]
    vocabulary = dict(zip(names, range(len(names)), strict=True))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    _save_tokenizer(tokenizer, folder, bos_token="<s>", mask_token="<mask>")
    torch.manual_seed(0)
    BartModel(
        BartConfig(
            vocab_size=len(names), d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=64,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def write_t5_base(folder: Path) -> Path:
    """A T5 of two layers with a Unigram tokenizer, whose vocabulary holds `</s>` as a piece like any other."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import T5Config, T5Model

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -4.0), *((c, -8.0) for c in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    _save_tokenizer(tokenizer, folder)
    torch.manual_seed(0)
    T5Model(
        T5Config(
            vocab_size=len(pieces), d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, pad_token_id=0,
            eos_token_id=1, decoder_start_token_id=0,
        )
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _save_tokenizer(tokenizer: Any, folder: Path, **more: str) -> None:
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"], **more,
    ).save_pretrained(folder)  # fmt: skip
