"""Load and save sequence classifiers and their tokenizers, and load language models, safely.

Only safetensors weights are read and no code that comes with a checkpoint is run.
"""

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pipeline.errors import ArtifactCorrupt, BadConfig, NoInput
from pipeline.labels import LabelSet
from pipeline.store.checkpoints import refuse_adapter
from pipeline.store.hashing import require_safetensors

PACKAGE_SCHEME = "package:"
_TOKENIZER_FILES = ("tokenizer*.json", "vocab*", "*.model", "bpe.codes")
_CAUSAL = frozenset(str(name) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer and its labels; the three always travel together."""

    model: Any
    tokenizer: Any
    labels: LabelSet


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with its tokenizer."""

    model: Any
    tokenizer: Any


def base_location(base: str, root: Path) -> str:
    """Where a base model is to be loaded from: a folder's path, or a Hub name as it is.

    Args:
        base: a Hub name, a folder (relative to `root`), or `package:NAME/FOLDER` for a folder that a
            Python package ships.
        root: the workspace.

    Raises:
        NoInput: when a named package or its folder is absent.
    """
    if base.startswith(PACKAGE_SCHEME):
        package, _, folder = base.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise NoInput(
                f"model.base {base!r}: the package {package!r} is not installed. Run: pip install it"
            )
        location = Path(next(iter(spec.submodule_search_locations))) / folder
        if not (location / "config.json").is_file():
            raise NoInput(f"model.base {base!r}: {location} holds no config.json")
        return str(location)
    folder_path = (root / base).resolve()
    return str(folder_path) if (folder_path / "config.json").is_file() else base


def new_classifier(location: str, labels: LabelSet, *, seed: int) -> Classifier:
    """A pretrained encoder with a new, seeded head for the labels.

    Raises:
        NoInput: when the model is neither a folder nor to be had from the Hub.
    """
    _refuse_code(Path(location))
    torch.manual_seed(seed)
    with _load_errors(location):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            location,
            num_labels=len(labels),
            id2label=dict(enumerate(labels.names)),
            label2id=labels.ids,
            problem_type="single_label_classification",
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
        )
    _ensure_padding(model, tokenizer)
    _read_as_text(tokenizer)
    return Classifier(model, tokenizer, labels)


def load_tokenizer(location: Path | str) -> Any:
    """A classifier's tokenizer alone.

    Args:
        location: a checkpoint's folder; or a Hub name.

    Raises:
        NoInput: there is no such folder, or no such name on the Hub. ArtifactCorrupt: as `load_classifier`.
    """
    local = isinstance(location, Path)
    if local:
        _require_checkpoint(Path(location))
    with _load_errors(str(location)):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False, local_files_only=local)
    _read_as_text(tokenizer)
    return tokenizer


def load_classifier(folder: Path) -> Classifier:
    """A finished checkpoint from its folder, in fp32 and eval mode.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when weights are damaged, missing or surplus, or the labels do not fit.
    """
    model, tokenizer = _loaded(folder, AutoModelForSequenceClassification)
    labels = LabelSet.from_label2id(dict(model.config.label2id), where=str(folder / "config.json"))
    if len(labels) != model.config.num_labels:
        raise ArtifactCorrupt(
            f"{folder / 'config.json'}: {len(labels)} labels, the head has {model.config.num_labels}"
        )
    _require_one_label_each(model.config, folder / "config.json")
    _ensure_padding(model, tokenizer)
    _read_as_text(tokenizer)
    return Classifier(model, tokenizer, labels)


def _require_one_label_each(config: Any, file: Path) -> None:
    """Refuse heads whose answers mean something else than the label of the highest logit."""
    problem = getattr(config, "problem_type", None)
    if problem not in (None, "single_label_classification"):
        raise ArtifactCorrupt(
            f"{file}: problem_type is {problem!r}, expected single_label_classification. Its answers are no single "
            "labels; fine-tune a classifier of one label each"
        )
    named = {int(number): name for name, number in config.label2id.items()}
    told = {int(number): name for number, name in config.id2label.items()}
    if named != told:
        number = min(i for i in named.keys() | told.keys() if named.get(i) != told.get(i))
        raise ArtifactCorrupt(
            f"{file}: label2id and id2label disagree: label {number} is {named.get(number)!r} in the one and "
            f"{told.get(number)!r} in the other. Mend the wrong one"
        )


def longest_text(model: Any) -> int | None:
    """The most tokens that a text may have, special tokens included; None where the model sets no limit."""
    longest: int | None = getattr(model.config, "max_position_embeddings", None)
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


def is_language_model(folder: Path) -> bool:
    """Whether a checkpoint's config names a causal language model of transformers.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when its config cannot be read, or asks for code of its own.
    """
    _require_checkpoint(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("architectures") if isinstance(config, dict) else None
    return isinstance(named, list) and bool(_CAUSAL & {str(name) for name in named})


def load_language_model(folder: Path) -> LanguageModel:
    """A causal language model from its folder, in fp32 and eval mode.

    Raises:
        NoInput: when the folder holds no checkpoint.
        ArtifactCorrupt: when weights are damaged, missing or surplus.
    """
    model, tokenizer = _loaded(folder, AutoModelForCausalLM)
    _ensure_padding(model, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)  # masked, so any token will do
    return LanguageModel(model, tokenizer)


def _loaded(folder: Path, kind: Any) -> tuple[Any, Any]:
    _require_checkpoint(folder)
    with _load_errors(str(folder)):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model, info = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    for name, weights in model.named_parameters():
        if weights.is_floating_point() and not torch.isfinite(weights).all():
            raise ArtifactCorrupt(
                f"{folder}: {name!r} holds NaN or infinite values. Restore it from a backup"
            )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(str(name) for name in info.get(problem, ()))
        if names:
            raise ArtifactCorrupt(
                f"{folder / 'model.safetensors'}: {problem.replace('_', ' ')}: {', '.join(names[:3])}"
                f"{' ...' if len(names) > 3 else ''}. Run: retrain rollback, or train this checkpoint again"
            )
    model.eval()
    return model, tokenizer


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


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write config, weights (safetensors) and tokenizer into an existing folder."""
    classifier.model.save_pretrained(folder, safe_serialization=True)
    classifier.tokenizer.save_pretrained(folder)


def quiet_libraries() -> None:
    """Keep transformers' own notes and bars off the terminal; errors still come as exceptions."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _read_as_text(tokenizer: Any) -> None:
    """Read `</s>` or `[SEP]` in a text as text: BART and T5 refuse a batch of texts with more ends than one.

    The setting is saved with the tokenizer, so that a server reads texts as training did.
    """
    tokenizer.split_special_tokens = True
    tokenizer.init_kwargs["split_special_tokens"] = True


def _ensure_padding(model: Any, tokenizer: Any) -> None:
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id


def _refuse_code(folder: Path) -> None:
    require_safetensors(folder)
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


@contextmanager
def _load_errors(location: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ArtifactCorrupt(
            f"{location}: model.safetensors is damaged: {error}. "
            "Run: retrain rollback, or restore the file from a backup"
        ) from None
    except RuntimeError as error:
        raise ArtifactCorrupt(f"{location}: the weights do not fit the configuration: {error}") from None
    except (OSError, ValueError, KeyError) as error:
        raise NoInput(
            f"{location}: no loadable model (expected config.json, model.safetensors and a tokenizer in a folder, "
            f"or a Hub name that can be reached): {error}"
        ) from None
