"""Load and save models of any task and their tokenizers, safely.

Only safetensors weights are read and no code that comes with a checkpoint is run.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import ArtifactCorrupt, BadConfig, NoInput, RetrainError
from pipeline.modeling.soundness import require_sound_config, require_vocabulary
from pipeline.modeling.task import Learner
from pipeline.store.checkpoints import refuse_adapter
from pipeline.store.hashing import require_safetensors

logger = logging.getLogger("retrain")
_TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model", "bpe.codes")
_FORMER_BUFFERS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
"""Causal masks that early releases of transformers saved with GPT-2's kind."""


def load_tokenizer(location: Path | str) -> Any:
    """A classifier's tokenizer alone.

    Args:
        location: a checkpoint's folder; or a Hub name.

    Raises:
        NoInput: there is no such folder, or no such name on the Hub. ArtifactCorrupt: as `load_model`.
    """
    local = isinstance(location, Path)
    if local:
        _require_checkpoint(Path(location))
    with load_errors(str(location)):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False, local_files_only=local)
    read_as_text(tokenizer)
    return tokenizer


def longest_text(model: Any) -> int | None:
    """The most tokens that a text may have, special tokens included; None where the model sets no limit."""
    longest: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and longest < 1:
        longest = None  # XLNet's says -1 for no limit
    for name, module in model.named_modules():
        # RoBERTa's kind counts positions from the one after its padding index
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            longest = module.num_embeddings - module.padding_idx - 1
    return longest


def require_length(model: Any, max_length: int) -> None:
    """Refuse a setting that lets texts be longer than the model reads.

    Raises:
        BadConfig: naming the most that it reads.
    """
    longest = longest_text(model)
    if longest is not None and max_length > longest:
        raise BadConfig(
            f"model.max_length {max_length}: {type(model).__name__} reads at most {longest} tokens. "
            f"Give -o model.max_length={longest}"
        )


def architectures(folder: Path) -> tuple[str, ...]:
    """The names of transformers' classes that a checkpoint's config tells.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when its config cannot be read, or asks for code of its own.
    """
    _require_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("architectures") if isinstance(config, dict) else None
    return tuple(str(name) for name in named) if isinstance(named, list) else ()


def load_model(folder: Path, kind: Any, **options: Any) -> tuple[Any, Any]:
    """A model of one of transformers' Auto classes and its tokenizer, proven to belong together, in fp32 and eval mode.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when weights are damaged, missing, surplus or not finite.
    """
    _require_checkpoint(folder)
    require_sound_config(folder)
    with load_errors(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    for name, weights in model.named_parameters():
        if weights.is_floating_point() and not torch.isfinite(weights).all():
            raise ArtifactCorrupt(
                f"{folder}: {name!r} holds NaN or infinite values. Restore it from a backup"
            )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(str(name) for name in info.get(problem, ()) if not str(name).endswith(_FORMER_BUFFERS))
        if (
            problem == "missing_keys"
            and names
            and kind is not AutoModelForCausalLM
            and _head_names(model) <= set(names)
        ):
            raise ArtifactCorrupt(
                f"{folder}: has no classification head ({', '.join(names[:3])}): it is a pretrained model. Name it as "
                "model.base and launch without --checkpoint"
            )
        if names:
            raise ArtifactCorrupt(
                f"{folder / 'model.safetensors'}: {problem.replace('_', ' ')}: {', '.join(names[:3])}"
                f"{' ...' if len(names) > 3 else ''}. Save it anew or restore it from a backup; a champion can be left for the one before it: retrain rollback"
            )
    require_vocabulary(model, tokenizer, where=str(folder))
    model.eval()
    return model, tokenizer


def _head_names(model: Any) -> set[str]:
    encoder = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(encoder)}


def load_pretrained(location: str, kind: Any, **options: Any) -> tuple[Any, Any, dict[str, Any]]:
    """A pretrained model of one of transformers' Auto classes, whose head may be made anew, its tokenizer and loading info.

    Args:
        location: a folder or a Hub name.

    Raises:
        NoInput: when it is neither a folder nor to be had from the Hub.
        ArtifactCorrupt: when it is damaged.
    """
    _refuse_code(Path(location))
    require_sound_config(Path(location))
    with load_errors(location):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        model, info = kind.from_pretrained(
            location,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    return model, tokenizer, info


def _require_checkpoint(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        refuse_adapter(folder)
        raise NoInput(f"{folder}: expected a checkpoint folder, found no config.json")
    _refuse_code(folder)
    if not any(file for pattern in _TOKENIZER_FILES for file in folder.glob(pattern)):
        raise ArtifactCorrupt(
            f"{folder}: holds no tokenizer, and transformers would make one up that takes every text for the same. Save "
            "the tokenizer that the model was trained with beside it"
        )


def save_learner(learner: Learner, folder: Path) -> None:
    """Write config, weights (safetensors) and tokenizer into an existing folder."""
    learner.model.save_pretrained(folder, safe_serialization=True)
    learner.tokenizer.save_pretrained(folder)


def quiet_libraries() -> None:
    """Keep transformers' own notes and bars off the terminal; errors still come as exceptions."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def read_as_text(tokenizer: Any) -> None:
    """Read `</s>` or `[SEP]` in a text as text: BART and T5 refuse a batch of texts with more ends than one.

    The setting is saved with the tokenizer, so that a server reads texts as training did.
    """
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True


def _refuse_code(folder: Path) -> None:
    require_safetensors(folder)
    pickled = sorted(
        file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(pattern)
    )
    if pickled and not any(folder.glob("*.safetensors")):
        raise NoInput(
            f"{folder}: expected model.safetensors, found {pickled[0]}: pickled weights can run code and are never read. "
            "Where you trust them, load the model with transformers once and save it with save_pretrained"
        )
    for name in ("config.json", "tokenizer_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError) as error:
            raise ArtifactCorrupt(f"{file}: not readable as JSON: {error}") from None
        if isinstance(content, dict) and "auto_map" in content:
            raise ArtifactCorrupt(
                f"{file}: asks to run code that comes with the checkpoint (auto_map), which is never done. "
                "Use a model class that transformers itself has, and remove auto_map"
            )


def _package_missing(location: str, error: BaseException) -> BadConfig:
    return BadConfig(
        f"{location}: needs a package that is not installed: {str(error).strip().splitlines()[0]}. Run: pip install "
        "sentencepiece tiktoken protobuf, or save a tokenizer.json with the checkpoint"
    )


def _is_sentencepiece_alone(folder: Path) -> bool:
    """Whether a checkpoint's tokenizer is a SentencePiece model (spm.model, spiece.model, source.spm) and nothing else."""
    pieces = [*folder.glob("*.model"), *folder.glob("*.spm")]
    return bool(pieces) and not (folder / "tokenizer.json").exists()


@contextmanager
def load_errors(location: str) -> Iterator[None]:
    """Inside, whatever a model or tokenizer that is damaged or out of reach raises becomes NoInput, BadConfig, ArtifactCorrupt."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ArtifactCorrupt(
            f"{location}: model.safetensors is damaged: {error}. "
            "Restore the file from a backup; a champion can be left for the one before it: retrain rollback"
        ) from None
    except RuntimeError as error:
        unlike = "ignore_mismatched_sizes" in str(error)
        what = "a tensor has another shape than config.json and its labels ask for" if unlike else str(error)
        raise ArtifactCorrupt(f"{location}: the weights do not fit the configuration: {what}") from None
    except ImportError as error:
        raise _package_missing(location, error) from None
    except BaseException as error:
        # configurations and tokenizers with odd values fail in a hundred ways, in Rust as a panic, which is no Exception
        if isinstance(error, RetrainError | KeyboardInterrupt | SystemExit):
            raise
        if isinstance(error, OSError) or not Path(location).is_dir():
            raise _unreachable(location, error) from None
        if _is_sentencepiece_alone(Path(location)) and find_spec("sentencepiece") is None:
            # transformers tries other ways to read it, and complains of the last one
            raise _package_missing(location, error) from None
        raise ArtifactCorrupt(
            f"{location}: cannot be loaded: {type(error).__name__}: {str(error)[:300]}. Expected config.json, "
            "model.safetensors and a tokenizer that belong together"
        ) from None


def _unreachable(location: str, error: BaseException) -> NoInput:
    return NoInput(
        f"{location}: no loadable model (expected config.json, model.safetensors and a tokenizer in a folder, "
        f"or a Hub name that can be reached): {error}"
    )
