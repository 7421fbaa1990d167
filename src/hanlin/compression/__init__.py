"""Compression: smaller and faster, with the loss measured and bounded. Importing it does not import torch."""

from hanlin.compression.compress import CompressedVariant, compress, reference_logits
from hanlin.compression.export import count_fused_attention, export_onnx
from hanlin.compression.quantize import quantize_int8

__all__ = [
    "CompressedVariant",
    "compress",
    "count_fused_attention",
    "export_onnx",
    "quantize_int8",
    "reference_logits",
]
