"""The steps of a sync, each of which can be done again: plan, write, conclude.

`run.py` does them one after another in one process; `durable.py` lets a queue do them on any worker.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime

from llmops.access import GroupBook
from llmops.clients.protocols import Embedder
from llmops.errors import ConfigurationError, SourceError
from llmops.ingestion.boilerplate import repeated
from llmops.ingestion.chunking import needed_window
from llmops.ingestion.comparison import Comparison, compare
from llmops.ingestion.documents import DocumentLedger, DocumentRow
from llmops.ingestion.encoding import EncodedAhead
from llmops.ingestion.erasure import forgotten_documents
from llmops.ingestion.indexing import ANYONE, Indexing, OnProgress
from llmops.ingestion.listing import Listing, document_id
from llmops.ingestion.precision import check_accepted
from llmops.ingestion.prepare import Prepared, Recipe, read_ahead, read_documents
from llmops.ingestion.reconciling import carry_over
from llmops.ingestion.reembed import donor_for, take_over
from llmops.ingestion.removal import held, missing
from llmops.ingestion.report import IngestReport, Progress
from llmops.ingestion.settling import settle_duplicates
from llmops.ingestion.shape import Indexer, create, discard, shape_to_fill
from llmops.ingestion.sources.protocol import Item, Source
from llmops.ingestion.sources.push import Pushed
from llmops.ingestion.sources.spec import PushSource
from llmops.ingestion.spec import IngestionSpec
from llmops.releases import CollectionShape
from llmops.tokens import terms

_SAMPLE_CHUNKS = 2_000
_SAMPLE_DOCUMENTS = 500
_MIN_REPEATING = 5  # documents: what stands in fewer is no boilerplate yet


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to run.

    Attributes:
        rebuild: build a new collection beside the old one; the name points to it when it is complete.
        beside: build or update a candidate beside the one that answers; only a release lets it answer.
        allow_empty: obey a source that has become empty instead of holding the documents it had.
        accept_removals: remove what is gone, however much it is.
    """

    rebuild: bool = False
    beside: bool = False
    allow_empty: bool = False
    accept_removals: bool = False


def load_encoder(spec: IngestionSpec, indexer: Indexer) -> Embedder:
    """The pipeline's encoder.

    Raises:
        ConfigurationError: chunks would be larger than it reads, or it loses more than the spec accepts.
    """
    embedder = indexer.load_embedder(spec)
    if needed_window(spec.chunk) > embedder.max_tokens:
        problem = f"chunk.max_tokens {needed_window(spec.chunk)} is more than {embedder.name!r} reads"
        raise ConfigurationError(f"{spec.file}: {problem}; at most {embedder.max_tokens}")
    check_accepted(spec, embedder.digest)
    return embedder


def collection_to_fill(
    spec: IngestionSpec, indexer: Indexer, embedder: Embedder, options: Options
) -> tuple[CollectionShape | None, dict[str, DocumentRow]]:
    """The collection that this sync fills with its rows; None when a new one has to be made.

    Raises:
        CollectionShapeError: the spec no longer fits the collection, and no rebuild was asked for.
    """
    indexer.collections.refresh()  # another process may have built or released one
    shape = shape_to_fill(spec, indexer, embedder, rebuild=options.rebuild, beside=options.beside)
    rows = DocumentLedger(indexer.database, shape.collection).rows() if shape else {}
    if shape is not None and not any(row.n_chunks for row in rows.values()):
        discard(shape, indexer)  # made from nothing, so that its mean chunk length is no measure
        shape, rows = None, {}
    if shape is None and options.beside and not options.rebuild:
        donor = donor_for(spec, indexer, embedder)
        if donor is not None:  # its chunks are taken over, so that its measures fit
            shape = create(spec, indexer, embedder, donor.average_terms, donor.boilerplate or ())
    return shape, rows


@dataclass(kw_only=True)
class Sync:
    """One sync of one pipeline, with everything it works on."""

    spec: IngestionSpec
    indexer: Indexer
    options: Options
    on_progress: OnProgress
    source: Source
    embedder: Embedder
    listing: Listing
    report: IngestReport
    group_problems: list[str] = field(default_factory=list)
    planned_at: datetime | None = None

    def plan(self, rows: dict[str, DocumentRow]) -> Comparison:
        """What there is to do; the groups of the source are taken over, and stored chunks by a new encoder.

        Args:
            rows: of the collection that is filled; what is taken over is added.

        Raises:
            ConfigurationError: the source is empty and the collection is not.
        """
        self._check_not_empty()
        self._take_groups()
        self._take_chunks(rows)
        if self.listing.is_everything:
            self.listing.absent = rows.keys() - self.listing.items.keys()
        return compare(
            self.listing,
            self.spec,
            self.source,
            rows,
            forgotten=forgotten_documents(self.indexer.database, self.spec.name),
            report=self.report,
            on_progress=self.on_progress,
        )

    def n_searchable(self, rows: dict[str, DocumentRow]) -> int:
        """Documents that can be found before the sync: in the collection it fills, or in the one that answers."""
        return sum(row.n_chunks > 0 for row in {**self._answering(), **rows}.values())

    def write(
        self, shape: CollectionShape | None, rows: dict[str, DocumentRow], items: Sequence[Item]
    ) -> Indexing:
        """Write what changed; a source that goes away in the middle of it becomes a problem of the listing."""
        mixed = _mixed(items)
        recipe = self.recipe(shape, mixed)
        with read_ahead(mixed, recipe) as ready, closing(EncodedAhead(self.embedder)) as ahead:
            prepared = ready
            if shape is None:
                # A candidate takes vectors over from the collection that answers: what is new is not known yet.
                prepared, average_terms = _measured(ready, None if self.options.beside else ahead)
                shape = create(self.spec, self.indexer, self.embedder, average_terms, recipe.boilerplate)
                self.report.collection = shape.collection
            indexing = self.indexing(shape, rows, len(mixed))
            indexing.ahead = ahead
            try:
                indexing.index(prepared)
            except SourceError as error:
                self.listing.problems.append(str(error))
        return indexing

    def make(self, items: Sequence[Item]) -> CollectionShape:
        """A new collection, measured on a sample of the documents it will hold."""
        mixed = _mixed(items)
        recipe = self.recipe(None, mixed)
        with read_ahead(mixed, recipe) as ready:
            _, average_terms = _measured(ready, None)
        return create(self.spec, self.indexer, self.embedder, average_terms, recipe.boilerplate)

    def conclude(self, indexing: Indexing, to_do: Comparison, *, n_searchable: int) -> IngestReport:
        """Everything after the writing: readers, dates, duplicates, removals, and who answers."""
        indexing.follow_events()
        for key, acl in to_do.access.items():
            indexing.set_access(key, acl)
        indexing.expire(to_do.expired)
        if indexing.n_deleted and not self.listing.is_everything:
            # A document that was restored meanwhile must be listed once more: these changes are asked for again.
            problem = f"{indexing.n_deleted} documents were removed by events while they were read"
            self.listing.problems.append(f"{problem}; the next sync looks again")
        doomed = self._doomed(indexing, n_searchable)
        indexing.settle_emptied(held=bool(self.report.held))
        if self.spec.clean.near_duplicates is not None and self.listing.is_complete:
            self._settle(indexing, self.spec.clean.near_duplicates, doomed)
        self.report.n_removed += len(doomed)
        indexing.remove(doomed)
        if not self.options.beside:
            carry_over(self.indexer, self.spec.name, indexing.shape.collection, indexing.rows, removed=doomed)
        self._let_go(indexing)
        self._finish(indexing)
        self.report.listing_problems = [*self.listing.problems, *self.group_problems]
        return self.report

    def _let_go(self, indexing: Indexing) -> None:
        """Of a document that is refused or whose date has come nothing is kept, where we are who keeps it."""
        if isinstance(self.source, Pushed):
            gone = {key: row for key, row in indexing.rows.items() if row.state in ("refused", "expired")}
            self.source.withhold({key: (row.state, row.reason) for key, row in gone.items()})

    def recipe(self, shape: CollectionShape | None, items: Sequence[Item]) -> Recipe:
        """How documents are read; for a new collection what repeats is found out in a sample of them."""
        recipe = Recipe(
            spec=self.spec,
            source=self.source,
            count_tokens=self.embedder.count_tokens,
            window=self.embedder.max_tokens,
            boilerplate=frozenset((shape.boilerplate or ()) if shape is not None else ()),
        )
        share = self.spec.clean.boilerplate
        if shape is not None or share is None:
            return recipe
        sample = read_documents(items[:_SAMPLE_DOCUMENTS], recipe)
        return replace(recipe, boilerplate=repeated(sample, min_share=share, min_documents=_MIN_REPEATING))

    def indexing(self, shape: CollectionShape, rows: dict[str, DocumentRow], n_documents: int) -> Indexing:
        """The writer into one collection."""
        serving = self.indexer.collections.serving(self.spec.name)
        is_alike = serving is not None and serving.embedder_digest == shape.embedder_digest
        # A candidate takes over the vectors of unchanged text; a rebuild makes them anew, for they may be damaged.
        may_take = serving is not None and is_alike and self.options.beside
        return Indexing(
            spec=self.spec,
            shape=shape,
            donor=serving.collection if serving is not None and may_take else shape.collection,
            indexer=self.indexer,
            embedder=self.embedder,
            rows=rows,
            report=self.report,
            on_progress=self.on_progress,
            n_documents=n_documents,
            listed_at=self.listing.sync.started_at,
            keeps_items=bool(self.listing.checkpoint) or not self.listing.is_everything,
            planned_at=self.planned_at,
        )

    def _check_not_empty(self) -> None:
        is_proved = self.listing.is_complete and self.listing.is_everything
        if self.listing.items or self.options.allow_empty or not is_proved:
            return
        n_held = sum(row.n_chunks > 0 for row in self._answering().values())
        if n_held:
            problem = f"the source of {self.spec.name!r} is empty but the collection holds {n_held} documents"
            raise ConfigurationError(f"{problem}; nothing was removed: mend the source, or pass --allow-empty")

    def _take_groups(self) -> None:
        """Who is in which group of the source now; where it cannot say, what it said last stays."""
        if isinstance(self.spec.source, PushSource):
            return  # its groups are sent as events
        book = self.indexer.groups or GroupBook(self.indexer.database)
        try:
            groups = dict(self.source.groups())
        except SourceError as error:
            self.group_problems.append(f"groups: {error}")
            return
        if groups != book.groups(self.spec.name):
            book.replace(self.spec.name, groups)

    def _take_chunks(self, rows: dict[str, DocumentRow]) -> None:
        """A candidate for which only the encoder changed is made from the chunks of what answers."""
        shape = self.indexer.collections.get(self.report.collection) if self.report.collection else None
        if shape is None or shape.state != "building" or not self.options.beside:
            return

        def tell(n_done: int, n_documents: int, n_embedded: int) -> None:
            self.report.n_embedded += n_embedded
            n = self.report.n_embedded
            self.on_progress(Progress(stage="index", n_documents=n_documents, n_done=n_done, n_embedded=n))

        take_over(self.spec, self.indexer, self.embedder, shape, rows, on_taken=tell)

    def _settle(self, indexing: Indexing, threshold: float, doomed: Collection[str]) -> None:
        """Leave out what says the same as another document; bring back what no longer does."""
        revived = settle_duplicates(indexing, threshold, self.listing.items, doomed)
        if revived:
            n_counted = sum(document_id(self.spec, item.uri) in self.listing.items for item in revived)
            self.report.n_duplicate -= n_counted
            self.report.n_found += len(revived) - n_counted
            with read_ahead(revived, self.recipe(indexing.shape, ())) as ready:
                indexing.index(ready)

    def _doomed(self, indexing: Indexing, n_searchable: int) -> set[str]:
        """Documents to remove, for the source no longer has them; none where there is doubt."""
        doomed = missing(self.listing, indexing.rows, indexing.gone)
        if not (self.options.accept_removals or self.options.allow_empty):
            lacking, rows = {*doomed, *indexing.emptied}, dict(indexing.rows)
            if indexing.shape.collection != self._serving_collection() and self.listing.is_everything:
                answering = self._answering()  # a new collection would lack some of them
                unanswered = _unanswered(answering, self.listing, indexing.rows)
                lacking = {*lacking, *unanswered}
                rows = {**answering, **rows, **{key: answering[key] for key in unanswered}}
            share = self.spec.sync.max_removed_share
            self.report.held = held(lacking, rows, n_searchable=n_searchable, share=share)
        return set() if self.report.held else doomed

    def _answering(self) -> dict[str, DocumentRow]:
        """Documents that answer under this name now."""
        serving = self._serving_collection()
        return DocumentLedger(self.indexer.database, serving).rows() if serving else {}

    def _serving_collection(self) -> str:
        serving = self.indexer.collections.serving(self.spec.name)
        return serving.collection if serving is not None else ""

    def _finish(self, indexing: Indexing) -> None:
        """Let the name answer from this collection, unless that would lose what could not be listed."""
        self.indexer.store.flush()
        book, collection = self.indexer.collections, indexing.shape.collection
        complete = self.listing.is_complete and not self.report.held
        serving = book.serving(self.spec.name)
        is_beside = serving is not None and serving.collection != collection
        is_new = serving is None or is_beside or serving.state == "building"
        if self.options.beside and complete:
            book.complete(collection)
        elif not self.options.beside and is_new and (complete or not is_beside):
            before = serving.collection if serving is not None else ""
            book.point(self.spec.name, collection)
            candidate = book.candidate(self.spec.name)
            self._discard_all_but({collection, before, candidate.collection if candidate else ""})
        self.report.n_chunks = self.indexer.store.count(collection, where=ANYONE)
        self.report.is_candidate = self.options.beside and complete

    def _discard_all_but(self, kept: set[str]) -> None:
        """Keep what answers now, what a rollback would go back to, and a candidate that waits for its release."""
        for old in self.indexer.collections.all():
            if old.name == self.spec.name and old.collection not in kept:
                discard(old, self.indexer)


def _unanswered(
    answering: Mapping[str, DocumentRow], listing: Listing, rows: Mapping[str, DocumentRow]
) -> set[str]:
    """Documents that can be found now, and could not be in the collection that was made."""
    left_out = ("duplicate", "expired", "refused")
    lost = {key for key, row in rows.items() if not row.n_chunks and row.state not in left_out}
    return {key for key, row in answering.items() if row.n_chunks and (key not in listing.items or key in lost)}


def _mixed(items: Sequence[Item]) -> list[Item]:
    """An order that mixes the folders, the same in every run: the first chunks are a fair sample of all."""
    return sorted(items, key=lambda item: hashlib.blake2b(item.uri.encode("utf-8", "replace")).digest())


def _measured(prepared: Iterator[Prepared], ahead: EncodedAhead | None) -> tuple[Iterator[Prepared], float]:
    """Mean number of BM25 terms in the first 2,000 chunks, and the documents as if they had not been looked at.

    Args:
        ahead: encodes the chunks meanwhile.
    """
    sample: list[Prepared] = []
    lengths: list[int] = []
    for item in prepared:
        sample.append(item)
        if ahead is not None:
            ahead.add([chunk.embedded_text for chunk in item.chunks])
        lengths.extend(len(terms(chunk.embedded_text)) for chunk in item.chunks)
        if len(lengths) >= _SAMPLE_CHUNKS:
            break
    if ahead is not None:
        ahead.begin()
    return itertools.chain(sample, prepared), max(sum(lengths) / len(lengths), 1.0) if lengths else 1.0
