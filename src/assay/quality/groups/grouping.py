"""Embed what people ask, and keep the groups of each project fitted to it.

Reading prompts and fitting happen in a process beside the server's; here is what goes into and out of the store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from assay.processes import ProcessEnded, RemoteObject
from assay.quality.groups.embedding import embedding_version, load_embedder
from assay.quality.groups.fit import fit
from assay.quality.groups.mask import template, template_id
from assay.quality.groups.nearest import Nearest
from assay.quality.words import Floats
from assay.store.connect import Row, Store
from assay.store.cursors import Cursor, read_cursor, write_cursor
from assay.store.embeddings import (
    Templates,
    embedded_calls,
    insert_embeddings,
    prompts_after,
    reassign,
    templates_of,
)
from assay.store.prompt_groups import Group, groups_changed_at, groups_of, insert_groups

FITTED_DAYS = 30
"""A fit sees the calls of so many days."""
MOST_TEMPLATES = 2000
"""And so many different templates: two thirds the most frequent, the rest a sample of all others."""
GROWTH = 1.5
"""A project is fitted anew when it has so many times the calls of its last fit, ..."""
EVERY_SECONDS = 86_400
"""... and after this time if there is anything new."""
PATIENCE_SECONDS = 120.0
BATCH = 1000


class Read(NamedTuple):
    """What some prompts are, all parallel."""

    templates: list[tuple[int, str]]
    vectors: Floats
    groups: list[str]


class PromptReader:
    """What runs in the process: reads prompts, and fits groups."""

    def __init__(self) -> None:
        self._embedder = load_embedder()
        self._nearest: dict[str, Nearest] = {}

    def use(self, groups: Sequence[Group]) -> None:
        """Put prompts into these groups from now on."""
        projects = {group.project for group in groups}
        self._nearest = {one: Nearest([group for group in groups if group.project == one]) for one in projects}

    def read(self, prompts: Sequence[tuple[str, str]]) -> Read:
        """The templates, vectors and groups of prompts, each given with its project."""
        texts = [template(prompt) for _, prompt in prompts]
        vectors = self._embedder.embed(texts)
        groups = [""] * len(prompts)
        for project, nearest in self._nearest.items():
            places = [place for place, (of, _) in enumerate(prompts) if of == project]
            for place, group in zip(places, nearest(vectors[places]), strict=True):
                groups[place] = group
        return Read([(template_id(text), text) for text in texts], vectors, groups)

    def fit(self, project: str, templates: Templates, former: Sequence[Group], calls: int) -> list[Group]:
        """The groups of a project, see `fit.fit`."""
        return fit(project, templates, former, embedding_version(), calls)


class Grouping:
    """Prompts read and groups fitted, over one store. Thread-safe: one thing at a time. `close` ends the process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._remote: RemoteObject | None = None
        self._used_at = -1

    def close(self) -> None:
        """End the process; safe to call twice."""
        if self._remote:
            self._remote.close()
            self._remote = None

    def keep(self, calls: Sequence[Row]) -> None:
        """Read the prompts of these calls, and store what they are. Raises StoreError, ProcessEnded."""
        calls = [call for call in calls if call["prompt"].strip()]
        if not calls:
            return
        with self._lock:
            self._use_newest()
            read: Read = self._ask("read", [(call["project"], call["prompt"]) for call in calls])
            insert_embeddings(self._store, calls, *read)

    def catch_up(self, until: int) -> int:
        """Read all prompts that are stored up to a commit (Unix microseconds) and were not yet; answers how many.

        For a store that no server runs over: there a follower does this.
        """
        name, count = cursor_name(), 0
        cursor: Cursor = read_cursor(self._store, name)
        while calls := prompts_after(self._store, cursor, until, BATCH):
            self.keep(calls)
            cursor = calls[-1]["ingested"], calls[-1]["span_id"]
            write_cursor(self._store, name, cursor)
            count += len(calls)
        return count

    def refit(self, project: str | None = None) -> dict[str, list[Group]]:
        """Fit one project, or all, anew and put every call into its group; answers the groups of each.

        Raises StoreError, ProcessEnded.
        """
        calls = embedded_calls(self._store, _since())
        wanted = calls if project is None else {project: calls.get(project, 0)}
        return {one: self._refitted(one, count) for one, count in wanted.items()}

    def refit_where_due(self) -> None:
        """Fit those projects anew whose calls have grown by half, or that have some and were not fitted for a day."""
        known: dict[str, Group] = {}
        for group in groups_of(self._store):
            if group.project not in known or group.fit_at > known[group.project].fit_at:
                known[group.project] = group
        for project, calls in embedded_calls(self._store, _since()).items():
            if _is_due(calls, known.get(project)):
                self._refitted(project, calls)

    def _refitted(self, project: str, calls: int) -> list[Group]:
        with self._lock:
            templates = templates_of(self._store, project, _since(), MOST_TEMPLATES)
            former = [group for group in groups_of(self._store, project) if group.embedding == embedding_version()]
            groups: list[Group] = self._ask("fit", project, templates, former, calls)
            insert_groups(self._store, groups)
            present = [group for group in groups if not group.gone]
            reassign(self._store, project, present)
            return present

    def _use_newest(self) -> None:
        self._process()
        changed_at = groups_changed_at(self._store)
        if changed_at != self._used_at:
            groups = groups_of(self._store)
            self._ask("use", [one for one in groups if not one.gone and one.embedding == embedding_version()])
            self._used_at = changed_at

    def _ask(self, method: str, *arguments: object) -> Any:
        try:
            return self._process().ask(method, *arguments, patience=PATIENCE_SECONDS)
        except ProcessEnded:
            self.close()
            raise

    def _process(self) -> RemoteObject:
        if self._remote is None:
            self._remote = RemoteObject(PromptReader)
            self._used_at = -1
        return self._remote


def cursor_name() -> str:
    """Under which the position is kept: a new version of the embedding begins anew."""
    return f"groups {embedding_version()}"


def _is_due(calls: int, last: Group | None) -> bool:
    if last is None or last.embedding != embedding_version():
        return True
    if calls >= GROWTH * last.fit_calls:
        return True
    return calls != last.fit_calls and time.time() - last.fit_at.timestamp() > EVERY_SECONDS


def _since() -> int:
    return time.time_ns() // 1000 - FITTED_DAYS * 86_400_000_000
