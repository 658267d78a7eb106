"""The meaning of rope_attention, for any array-API namespace."""

from redline.ops.attention.reference import attention
from redline.ops.kv_store.reference import kv_store
from redline.ops.rope.reference import rope
from redline.ops.rope_attention.composed import composed

rope_attention = composed(rope, kv_store, attention)
