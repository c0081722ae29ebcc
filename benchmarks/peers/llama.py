"""The trainer's llama as `transformers` has it, with the same weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from trainer.llama import feed_forward_width, key_value_heads
from trainer.model import Decoder
from transformers import LlamaConfig, LlamaForCausalLM


class HuggingFaceLlama(nn.Module):
    """Compiled whole, attention by PyTorch's scaled_dot_product_attention. Returns the mean loss of a batch."""

    def __init__(self, decoder: Decoder, compiled: bool) -> None:
        super().__init__()
        shape = decoder.shape
        config = LlamaConfig(
            vocab_size=decoder.token_embedding.num_embeddings,
            hidden_size=shape.width,
            intermediate_size=feed_forward_width(shape),
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=key_value_heads(shape),
            max_position_embeddings=shape.context,
            rms_norm_eps=shape.norm_epsilon,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
            tie_word_embeddings=shape.tied_embeddings,
            attn_implementation="sdpa",  # ty: ignore[unknown-argument]
        )
        self.model = LlamaForCausalLM(config)
        self.model.load_state_dict(hugging_face_weights(decoder), strict=not shape.tied_embeddings)
        if compiled:
            self.model.compile()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        # The labels are those of the next token already: transformers would shift them once more.
        return {"loss": self.model(input_ids=input_ids, labels=labels, shift_labels=labels, use_cache=False).loss}


@torch.no_grad()
def hugging_face_weights(decoder: Decoder) -> dict[str, Tensor]:
    shape = decoder.shape
    head_width = shape.width // shape.heads
    query_rows, other_rows = shape.heads * head_width, key_value_heads(shape) * head_width
    own = dict(decoder.named_parameters())
    weights: dict[str, Tensor] = {
        "model.embed_tokens.weight": own["token_embedding.weight"],
        "model.norm.weight": own["final_norm.weight"],
    }
    if decoder.head is not None:
        weights["lm_head.weight"] = own["head.weight"]
    for number in range(shape.layers):
        block, layer = f"blocks.{number}", f"model.layers.{number}"
        query, key, value = own[f"{block}.attention.qkv.weight"].split([query_rows, other_rows, other_rows])
        gate, up = own[f"{block}.feed_forward.gate_up.weight"].chunk(2)
        weights |= {
            f"{layer}.self_attn.q_proj.weight": query,
            f"{layer}.self_attn.k_proj.weight": key,
            f"{layer}.self_attn.v_proj.weight": value,
            f"{layer}.self_attn.o_proj.weight": own[f"{block}.attention.out.weight"],
            f"{layer}.mlp.gate_proj.weight": gate,
            f"{layer}.mlp.up_proj.weight": up,
            f"{layer}.mlp.down_proj.weight": own[f"{block}.feed_forward.out.weight"],
            f"{layer}.input_layernorm.weight": own[f"{block}.attention_norm.weight"],
            f"{layer}.post_attention_layernorm.weight": own[f"{block}.feed_forward_norm.weight"],
        }
    return weights
