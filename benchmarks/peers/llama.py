"""The trainer's llama as `transformers` has it, with the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor, nn
from trainer.hugging_face import CONFIG, settings, write_json, write_weights
from trainer.model import Decoder
from transformers import LlamaForCausalLM


class HuggingFaceLlama(nn.Module):
    """Compiled whole, attention by PyTorch's scaled_dot_product_attention. Returns the mean loss of a batch.

    It has the rows that pad the vocabulary too, since odd sizes would slow it down.
    """

    def __init__(self, decoder: Decoder, compiled: bool) -> None:
        super().__init__()
        rows = decoder.token_embedding.num_embeddings
        weights = {name: parameter.detach() for name, parameter in decoder.named_parameters()}
        with tempfile.TemporaryDirectory() as folder:
            write_weights(Path(folder), weights, decoder.shape, rows)
            write_json(Path(folder) / CONFIG, settings(decoder.shape, rows, 0))
            self.model = LlamaForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype="float32")
        if compiled:
            self.model.compile()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        # The labels are those of the next token already: transformers would shift them once more.
        return {"loss": self.model(input_ids=input_ids, labels=labels, shift_labels=labels, use_cache=False).loss}
