"""How a collection is held and searched, in the forms of a Qdrant server."""

from __future__ import annotations

from typing import Any, assert_never

from qdrant_client import models

from llmops.clients.protocols import IndexKind, SearchSettings, StoreSettings
from llmops.clients.vectors.names import DENSE, KEYWORD_INDEXES, SPARSE, TENANT, metadata_indexes
from llmops.errors import ConfigurationError

_COMPRESSIONS = {int(c.value.removeprefix("x")): c for c in models.CompressionRatio}


def collection_arguments(dimension: int, settings: StoreSettings) -> dict[str, Any]:
    """Arguments of `create_collection`; what is left to the server is not among them.

    Raises:
        ConfigurationError: a setting is not one that a server knows.
    """
    dense = models.VectorParams(size=dimension, distance=models.Distance.COSINE, on_disk=settings.on_disk_vectors)
    given: dict[str, Any] = {
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "write_consistency_factor": settings.write_consistency_factor,
        "on_disk_payload": settings.on_disk_payload,
        "quantization_config": _quantization(settings),
    }
    if settings.hnsw_m is not None or settings.hnsw_ef_construct is not None:
        given["hnsw_config"] = models.HnswConfigDiff(m=settings.hnsw_m, ef_construct=settings.hnsw_ef_construct)
    if settings.indexing_threshold_kb is not None:
        optimizers = models.OptimizersConfigDiff(indexing_threshold=settings.indexing_threshold_kb)
        given["optimizers_config"] = optimizers
    words = (
        models.SparseIndexParams(on_disk=settings.on_disk_words) if settings.on_disk_words is not None else None
    )
    return {
        "vectors_config": {DENSE: dense},
        "sparse_vectors_config": {SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF, index=words)},
        **{name: value for name, value in given.items() if value is not None},
    }


def payload_indexes(settings: StoreSettings) -> dict[str, Any]:
    """Field to the schema of its index."""
    keyword, on_disk = models.KeywordIndexType.KEYWORD, settings.on_disk_indexes
    kinds: dict[IndexKind, Any] = {
        "keyword": models.KeywordIndexParams(type=keyword, on_disk=on_disk),
        "number": models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=on_disk),
    }
    paths = metadata_indexes(settings.index_fields)
    return {
        TENANT: models.KeywordIndexParams(type=keyword, is_tenant=True, on_disk=on_disk),
        **dict.fromkeys(KEYWORD_INDEXES, kinds["keyword"]),
        **{paths[name]: kinds[kind] for name, kind in settings.index_fields.items()},
    }


def dense_params(settings: SearchSettings) -> models.SearchParams:
    codes = models.QuantizationSearchParams(rescore=settings.rescore, oversampling=settings.oversampling)
    return models.SearchParams(hnsw_ef=settings.hnsw_ef, exact=settings.exact, quantization=codes)


def sparse_params(tenant: str) -> models.SearchParams | None:
    """A tenant's words count by how rare they are in its own texts, so that no score tells of another's."""
    if not tenant:
        return None
    own = models.Filter(must=[models.FieldCondition(key=TENANT, match=models.MatchValue(value=tenant))])
    return models.SearchParams(idf=models.IdfCorpusParams(corpus=own))


def _quantization(settings: StoreSettings) -> Any:
    in_ram = settings.quantized_in_ram
    match settings.quantization:
        case "auto" | "none":
            return None
        case "int8":
            scalar = models.ScalarQuantizationConfig(
                type=models.ScalarType.INT8, quantile=settings.quantile, always_ram=in_ram
            )
            return models.ScalarQuantization(scalar=scalar)
        case "turbo8" | "turbo4":
            bits = (
                models.TurboQuantBitSize.BITS8
                if settings.quantization == "turbo8"
                else models.TurboQuantBitSize.BITS4
            )
            return models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(bits=bits, always_ram=in_ram)
            )
        case "binary":
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=in_ram))
        case "product":
            if settings.product_compression not in _COMPRESSIONS:
                known = ", ".join(map(str, _COMPRESSIONS))
                raise ConfigurationError(
                    f"product_compression is {settings.product_compression!r}: use one of {known}"
                )
            compression = _COMPRESSIONS[settings.product_compression]
            product = models.ProductQuantizationConfig(compression=compression, always_ram=in_ram)
            return models.ProductQuantization(product=product)
        case _:
            assert_never(settings.quantization)
