"""Small random models in float64."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn

from .samples import CLASSES, PADDING, VOCABULARY

_BERT_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "pad_token_id": PADDING,
    "num_labels": CLASSES,
}
_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": PADDING,
    "num_labels": CLASSES,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 24,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": PADDING,
    "num_labels": CLASSES,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "pad_token_id": PADDING,
    "decoder_start_token_id": 0,
}
_DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "max_position_embeddings": 24,
    "pad_token_id": PADDING,
    "num_labels": CLASSES,
}
_OPT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "word_embed_proj_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "ffn_dim": 24,
    "max_position_embeddings": 24,
    "pad_token_id": PADDING,
}
_DEBERTA = {
    **_BERT_LIKE,
    "num_hidden_layers": 1,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 4,
}
_GEMMA = {**_LLAMA, "num_hidden_layers": 1, "head_dim": 8}
_MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (transformers.BertForSequenceClassification, transformers.BertConfig, _BERT_LIKE),
    "distilbert": (
        transformers.DistilBertForSequenceClassification,
        transformers.DistilBertConfig,
        _DISTILBERT,
    ),
    "roberta": (transformers.RobertaForSequenceClassification, transformers.RobertaConfig, _BERT_LIKE),
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config, _GPT2),
    "gpt2 classifier": (transformers.GPT2ForSequenceClassification, transformers.GPT2Config, _GPT2),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig, _LLAMA),
    "llama classifier": (transformers.LlamaForSequenceClassification, transformers.LlamaConfig, _LLAMA),
    "albert": (
        transformers.AlbertForSequenceClassification,
        transformers.AlbertConfig,
        {**_BERT_LIKE, "embedding_size": 8},
    ),
    "deberta": (transformers.DebertaV2ForSequenceClassification, transformers.DebertaV2Config, _DEBERTA),
    "opt": (transformers.OPTForCausalLM, transformers.OPTConfig, _OPT),
    "gemma": (transformers.Gemma2ForCausalLM, transformers.Gemma2Config, _GEMMA),
    "t5": (transformers.T5ForConditionalGeneration, transformers.T5Config, _T5),
}


def build(name: str, *, attention: str = "sdpa", **changes: Any) -> nn.Module:
    """A small model with weights large enough that its predictions differ."""
    kind, config, settings = _MODELS[name]
    torch.manual_seed(0)
    model = kind._from_config(config(**{**settings, **changes}), attn_implementation=attention).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    assert isinstance(model, nn.Module)
    return model


def double_norms(monkeypatch: Any) -> None:
    """Keep the norms of Llama and T5 in float64; by themselves they compute in float32 in any model."""

    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))  # type: ignore[no-any-return]

    for norm in (
        transformers.models.llama.modeling_llama.LlamaRMSNorm,
        transformers.models.t5.modeling_t5.T5LayerNorm,
    ):
        monkeypatch.setattr(norm, "forward", forward)
