"""The only caller of transformers' `from_pretrained`: a checkpoint's own code never runs."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from surgery.errors import CheckpointError, SurgeryError, first_line, shortage
from surgery.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROMPT_LOCK = RLock()


def load_pretrained(kind: Any, source: str | Path, **options: Any) -> Any:
    """Call `kind.from_pretrained(source)` so that nothing of the checkpoint is executed.

    Args:
        kind: An auto class of transformers, or a concrete one.
        source: A local folder or a Hub id.
        **options: As `from_pretrained` takes them.

    Raises:
        CheckpointError: The checkpoint cannot be loaded without running code of its own.
    """
    _refuse_kernels(Path(source))
    # A folder must not make transformers fetch what else its files name.
    options.setdefault("local_files_only", Path(source).is_dir())
    try:
        with _no_prompt():
            return kind.from_pretrained(source, trust_remote_code=False, **options)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise custom_code_error(source) from None
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, StrictDataclassError):
            raise
        # The tokenizers library, and the Hub's for configurations, have no usual type for this.
        raise ValueError(first_line(error)) from error


@contextmanager
def loading(source: object) -> Iterator[None]:
    """Turn every error of transformers about a checkpoint's files into one `CheckpointError`.

    Args:
        source: The checkpoint, for the message.

    Raises:
        CheckpointError: For every error of the block but a lack of memory.
    """
    try:
        yield
    except SurgeryError:
        raise
    except Exception as error:
        if shortage(error) is not None:
            raise
        raise CheckpointError(
            f"{source} cannot be used with transformers: {type(error).__name__}, "
            f"{first_line(error)[:300]}. Its configuration, tokenizer or processor files are "
            "damaged, or do not belong together: restore them from the checkpoint's source."
        ) from error


def custom_code_error(source: object) -> CheckpointError:
    """Return the refusal of a checkpoint that transformers can only load by running its code."""
    return CheckpointError(
        f"{source} needs custom Python code: its configuration (auto_map) names classes that "
        "this transformers does not have. Custom code is never run here. Use a version of the "
        "model whose type transformers has, often published under a name that ends in -hf, or a "
        "newer transformers that has the type."
    )


@contextmanager
def _no_prompt() -> Iterator[None]:
    """Make transformers refuse where it would ask on stdin for permission to run code.

    Some loads inside transformers drop `trust_remote_code`: a processor that is found by the
    model's type, the audio tokenizer that a processor names.
    """
    from transformers import dynamic_module_utils

    with _PROMPT_LOCK:
        patience = dynamic_module_utils.TIME_OUT_REMOTE_CODE
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
        try:
            yield
        finally:
            dynamic_module_utils.TIME_OUT_REMOTE_CODE = patience


def _refuse_kernels(folder: Path) -> None:
    """Refuse a configuration whose attention is code on the Hub, as `org/repo`."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return  # transformers reports the fault
    parts = [config, *config.values()] if isinstance(config, dict) else []
    for part in parts:
        for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
            name = part.get(key) if isinstance(part, dict) else None
            if "/" in str(name):
                raise CheckpointError(
                    f"{folder / 'config.json'}: {key} is {name!r}, code on the Hub, which is "
                    f"never run here. Remove {key} from the file: transformers has its own."
                )
