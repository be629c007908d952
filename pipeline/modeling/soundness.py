"""What a model and its tokenizer must agree on before either is used."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import ArtifactCorrupt
from pipeline.modeling.batches import encode, pad, pad_nothing

logger = logging.getLogger("retrain")

MOST_LAYERS = 10_000
"""More than any model has: a damaged number would have transformers build layers for minutes."""
_PROBE, _MOST, _DEPENDS = "a 1 b", 64, 1e-3
"""The text that is tried, the most tokens of a longer one, and the relative difference of logits that is no rounding."""
_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")


def require_sound_config(folder: Path) -> None:
    """Refuse a config.json that asks for what cannot be trained, or for more layers than there can be.

    Raises:
        ArtifactCorrupt: naming the key.
    """
    file = folder / "config.json"
    if not file.is_file():
        return
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ArtifactCorrupt(f"{file}: expected an object, found {type(content).__name__}")
    quantized = content.get("quantization_config")
    if quantized is not None:
        method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else quantized
        raise ArtifactCorrupt(
            f"{file}: the weights are quantized ({method}), and fine-tuning needs them whole. Save the model in fp32, fp16 "
            "or bf16 and name that"
        )
    for key in _COUNTS:
        count = content.get(key)
        if isinstance(count, int) and count > MOST_LAYERS:
            raise ArtifactCorrupt(f"{file}: {key} is {count}, expected at most {MOST_LAYERS}: it is damaged")


def ensure_padding(model: Any, tokenizer: Any, *, where: str) -> None:
    """Give a tokenizer without padding the end token for it, and let the model take the same token for padding.

    A decoder classifier finds the last token of a text by the padding id of its config, so that another one than the
    tokenizer's makes it read padding.

    Raises:
        ArtifactCorrupt: the tokenizer has neither a padding nor an end token.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ArtifactCorrupt(
            f"{where}: the tokenizer has neither a padding nor an end token, and texts of unlike length need one. Set "
            "pad_token in its tokenizer_config.json"
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def require_vocabulary(model: Any, tokenizer: Any, *, where: str) -> None:
    """Refuse a tokenizer that gives ids for which the model has no embedding.

    Raises:
        ArtifactCorrupt: naming both sizes.
    """
    embeddings = getattr(model.get_input_embeddings(), "num_embeddings", None)
    largest = max(tokenizer.get_vocab().values(), default=0)
    if embeddings is not None and largest >= embeddings:
        raise ArtifactCorrupt(
            f"{where}: the tokenizer has ids up to {largest}, the model embeddings for {embeddings} tokens: they do not "
            "belong together. Save the tokenizer that the model was trained with, or resize its embeddings"
        )


@torch.no_grad()
def see_to_padding(model: Any, tokenizer: Any, longest: int | None, *, where: str) -> None:
    """Have texts batched by equal length where the model's answer to one depends on how much padding stands behind it.

    A short text is answered alone and with padding up to several times its length. Training still pads, which is noise to
    it.

    Args:
        model, tokenizer: a classifier and what belongs to it.
        longest: the most tokens that it reads; None for no limit.
        where: for the message.
    """
    model.eval()
    short, long = encode(tokenizer, [_PROBE, " ".join([_PROBE] * 6)], min(longest or _MOST, _MOST))
    alone = model(**pad(tokenizer, [short])).logits[0]
    beside = model(**pad(tokenizer, [short, long])).logits[0]
    difference = (alone - beside).abs().max().item()
    if difference > _DEPENDS * max(alone.abs().max().item(), 1.0):
        pad_nothing(tokenizer)
        logger.warning(
            "%s: padding changes its answers (logits by %.2g): texts are batched by equal length here. Serve it one text at "
            "a time, or so",
            where,
            difference,
        )
