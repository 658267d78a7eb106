"""`python -O` removes asserts: what they would have caught in a file must be caught without them.

And checkpoints that bring code: it is not run.
"""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from redline.errors import RedlineError
from redline.models.load_weights import load_weights
from redline.ops.registry import backend
from tests.models import test_gguf_file, test_load_weights, test_safetensors_file
from tests.models.files import hf_tensors, write_directory

ROOT = Path(__file__).parent.parent.parent


def cases(function):
    """The rows that a test of wrong files runs over."""
    rows = next(mark for mark in function.pytestmark if mark.name == "parametrize").args[1]
    return [getattr(row, "values", row) for row in rows]


def wrong_files(directory):
    """How to open each, with the arguments."""
    gguf, safetensors, loading = test_gguf_file, test_safetensors_file, test_load_weights
    for function, test in (
        (gguf.opened, gguf.test_a_wrong_header_says_what_is_wrong),
        (safetensors.opened, safetensors.test_a_wrong_header_says_what_is_wrong),
        (loading.load_gguf, loading.test_wrong_metadata_is_refused),
        (load_changed, loading.test_wrong_tensors_are_refused),
        (load_config, loading.test_a_wrong_config_is_refused),
    ):
        yield from ((function, (directory, row[0])) for row in cases(test))


def refusals(directory):
    """Which of the wrong files were not refused by name. Runs under -O, so nothing here is an assert."""
    missed, tries = [], list(wrong_files(directory))
    for number, (function, args) in enumerate(tries):
        try:
            function(*args)
        except RedlineError:
            continue
        except BaseException as error:  # noqa: BLE001  whatever it is, it is no refusal
            missed.append((number, function.__name__, repr(error)[:200]))
        else:
            missed.append((number, function.__name__, "accepted"))
    return len(tries), missed


def load_changed(directory, changes):
    tensors = test_load_weights.changed(test_load_weights.llama_tensors(), **changes)
    test_load_weights.load_gguf(directory, tensors=tensors)


def load_config(directory, config):
    load_weights(write_directory(directory / "m", config=config), backend("cpu"), "int8")


def test_wrong_files_are_refused_without_asserts(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.models.test_optimised import refusals\n"
        "if __debug__: sys.exit('asserts are on')\n"
        "count, missed = refusals(Path(sys.argv[1]))\nsys.exit(f'{missed}' if missed or count < 90 else 0)"
    )
    command = [sys.executable, "-O", "-c", script, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


class Bomb:
    """Unpickling it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.safetensors", "consolidated.00.pth"]
)
def test_pickles_are_refused_unopened(tmp_path, name):
    mark = tmp_path / "mark"
    directory = write_directory(tmp_path / "m")
    (directory / "model.safetensors").unlink()
    (directory / name).write_bytes(pickle.dumps(Bomb(mark)))
    for path in (directory, directory / name):
        with pytest.raises(RedlineError):
            load_weights(path, backend("cpu"), "int8")
    assert not mark.exists()
    pickle.loads((directory / name).read_bytes())
    assert mark.exists(), "the bomb would have gone off"


def test_code_of_a_checkpoint_is_not_run(tmp_path):
    mark = tmp_path / "mark"
    changes = {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}, "trust_remote_code": True}
    directory = write_directory(tmp_path / "m", config=changes, tensors=hf_tensors())
    (directory / "modeling_x.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    try:
        load_weights(directory, backend("cpu"), "int8")
    except RedlineError as error:
        assert "auto_map" in str(error) or "trust_remote_code" in str(error)
    assert not mark.exists() and "modeling_x" not in sys.modules
