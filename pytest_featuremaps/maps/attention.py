"""The weights of attention, recomputed from what went into a call that does not return them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import multi_head_attention_forward

_SCALED, _WHOLE = "scaled_dot_product_attention", "multi_head_attention_forward"

OPS = frozenset({_SCALED, _WHOLE})
"""The functions of torch whose weights can be recomputed."""


def recomputed(
    op: str, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, object]
) -> torch.Tensor:
    """Return the weights of one call, before any dropout: (..., heads, queries, keys).

    Args:
        op: one of `OPS`.
        tensors: the tensors that the call was made with, by parameter.
        settings: its other arguments, likewise.
    """
    with torch.no_grad():
        if op == _SCALED:
            return _scaled(tensors, settings)
        given: dict[str, Any] = {**settings, **tensors}
        given |= {"need_weights": True, "average_attn_weights": False, "training": False}
        _, weights = multi_head_attention_forward(**given)
        return torch.zeros(0) if weights is None else weights


def _scaled(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> torch.Tensor:
    """Return what `scaled_dot_product_attention` computes and keeps to itself.

    Source: the equivalent code in its documentation. A query that may look at nothing has
    weights of zero, as it does in torch since 2.5.
    """
    query, key = tensors["query"], tensors["key"]
    dtype = torch.promote_types(query.dtype, torch.float32)
    query, key = query.to(dtype), key.to(dtype)
    if settings.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scale = settings.get("scale")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.mT * scale
    mask = tensors.get("attn_mask")
    if settings.get("is_causal"):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, -math.inf)
    elif mask is not None:
        scores = scores + mask.to(dtype)
    nothing = (scores == -math.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(nothing, 0.0)
