"""How a collection is held, in the forms of Qdrant Edge; what it cannot do is refused."""

from __future__ import annotations

from typing import assert_never

import qdrant_edge as edge

from llmops.clients.protocols import IndexKind, StoreSettings
from llmops.clients.vectors.names import DENSE, KEYWORD_INDEXES, SPARSE, TENANT, metadata_indexes
from llmops.errors import ConfigurationError

_ONE = ("shard_number", "replication_factor", "write_consistency_factor")
_INDEX = ("hnsw_m", "hnsw_ef_construct", "indexing_threshold_kb")


def shard_config(dimension: int, settings: StoreSettings) -> edge.EdgeConfig:
    """No index but exact search: building one holds the interpreter's lock for seconds.

    Raises:
        ConfigurationError: a setting asks for what only a server has.
    """
    _check(settings)
    dense = edge.EdgeVectorParams(
        size=dimension,
        distance=edge.Distance.Cosine,
        on_disk=settings.on_disk_vectors,
        quantization_config=_quantization(settings),
    )
    sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf, on_disk=settings.on_disk_words)
    return edge.EdgeConfig(
        vectors={DENSE: dense},
        sparse_vectors={SPARSE: sparse},
        on_disk_payload=settings.on_disk_payload,
        wal_enabled=True,
    )


def index_operations(settings: StoreSettings) -> list[edge.UpdateOperation]:
    """What makes the payload indexes of a new shard."""
    create, on_disk = edge.UpdateOperation.create_field_index, settings.on_disk_indexes
    kinds: dict[IndexKind, edge.PayloadSchemaParams] = {
        "keyword": edge.KeywordIndexParams(on_disk=on_disk),
        "number": edge.FloatIndexParams(on_disk=on_disk),
    }
    paths = metadata_indexes(settings.index_fields)
    return [
        create(TENANT, edge.KeywordIndexParams(is_tenant=True, on_disk=on_disk)),
        *(create(name, kinds["keyword"]) for name in KEYWORD_INDEXES),
        *(create(paths[name], kinds[kind]) for name, kind in settings.index_fields.items()),
    ]


def _check(settings: StoreSettings) -> None:
    for name in _ONE:
        if (getattr(settings, name) or 1) > 1:
            raise ConfigurationError(
                f"{name} is {getattr(settings, name)!r} and the embedded vectors are one part on one machine: "
                "leave it out, or set LLMOPS_QDRANT_URL to a server or cluster"
            )
    for name in _INDEX:
        if getattr(settings, name) is not None:
            raise ConfigurationError(
                f"{name} is {getattr(settings, name)!r} and the embedded vectors are searched without an index: "
                "leave it out, or set LLMOPS_QDRANT_URL to a server"
            )
    if settings.quantization in ("int8", "product"):
        raise ConfigurationError(
            f"quantization {settings.quantization!r} needs an index, which the embedded vectors do without: "
            "use 'turbo8' or 'turbo4', or set LLMOPS_QDRANT_URL to a server"
        )


def _quantization(
    settings: StoreSettings,
) -> edge.TurboQuantQuantizationConfig | edge.BinaryQuantizationConfig | None:
    in_ram = settings.quantized_in_ram
    match settings.quantization:
        case "auto" | "turbo8":
            return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits8, always_ram=in_ram)
        case "turbo4":
            return edge.TurboQuantQuantizationConfig(bits=edge.TurboQuantBitSize.Bits4, always_ram=in_ram)
        case "binary":
            return edge.BinaryQuantizationConfig(always_ram=in_ram)
        case "none" | "int8" | "product":
            return None
        case _:
            assert_never(settings.quantization)
