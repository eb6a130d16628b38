"""Builds the tier that keeps evicted KV, as ServerArgs ask for it."""

from __future__ import annotations

from pathlib import Path

from sglang_lang.radix_cache.block_store import BlockStore, FileStore, MemoryStore, StoreInUseError
from sglang_lang.radix_cache.host_tier import HostTier, RunInOrder
from sglang_lang.radix_cache.memory_pool import TokenToKVPool

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.fingerprint import model_fingerprint
from ..errors import ServerArgsError
from ..server_args import ServerArgs


def make_tier(
    args: ServerArgs,
    checkpoint: Checkpoint,
    context_len: int,
    pool: TokenToKVPool,
    run_in_order: RunInOrder,
) -> HostTier | None:
    """The tier, or None where none is asked for.

    Raises:
        ServerArgsError: the folder cannot be used.
    """
    if args.kv_tier_size is None:
        return None
    capacity = int(args.kv_tier_size * 2**30)
    store: BlockStore
    if args.cache_dir is None:
        store, model = MemoryStore(capacity), b""
    else:
        folder = Path(args.cache_dir).expanduser() / "kv"
        try:
            model = _fingerprint(args, checkpoint, context_len, pool, folder)
            store = FileStore(folder, model.hex()[:16], capacity)
        except (OSError, StoreInUseError) as error:
            raise ServerArgsError(f"--cache-dir {args.cache_dir}: {error}") from error
    return HostTier(pool, store, model, args.page_size, run_in_order)


def _fingerprint(
    args: ServerArgs, checkpoint: Checkpoint, context_len: int, pool: TokenToKVPool, folder: Path
) -> bytes:
    settings = (
        checkpoint.config,
        context_len,
        args.load_format == "dummy",
        args.dtype,
        args.quantization,
        pool.dtype,
        pool.rows_shape(1),
        args.page_size,
    )
    return model_fingerprint(checkpoint.files, repr(settings), folder / "models.json")
