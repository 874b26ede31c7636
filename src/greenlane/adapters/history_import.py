"""History into the journal: every row of a file one entry, every label one more, each at the time it became known.

So a feature at a past payment knows what it would have known on that day, and nothing else.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from greenlane.adapters.history_mapping import Mapping, fact_of
from greenlane.adapters.history_query import SUBJECTS
from greenlane.adapters.tabular_files import Fault, HistoryTable
from greenlane.decisions.control import ControlRecord, control_draft
from greenlane.errors import Conflict, InputError
from greenlane.features.definition import FeatureSet
from greenlane.journal.bulk import BulkSequencer
from greenlane.journal.draft import Draft, Reference
from greenlane.journal.freeze import Reporting, network_of
from greenlane.outcomes.accept import ENCODER as RECORD_ENCODER
from greenlane.outcomes.accept import approved, code_of, decline_class, record_of
from greenlane.payments.facts import INT_FIELDS, Facts
from greenlane.payments.outcome import Outcome
from greenlane.ports.journal import Entry, name_of
from greenlane.ports.subjects import SubjectMap

Progress = Callable[[int, int], None]
"""(entries done, entries in all)"""

LabelType = Literal["fraud_report", "dispute"]
SHOWN_MAX: Final = 20
REMEMBERED_MAX: Final = 1 << 20
CARD_DEFAULTS: Final = MappingProxyType({"network": "other", "funding": "unknown", "credential": "pan"})
CODE_MAX: Final = 8
"""Characters of a network response code."""


class ImportReport(Struct, frozen=True):
    """What an import did. Rows that could not be used are counted in `bad` and the first of them shown in `faults`."""

    payments: int
    labels: int
    already_known: int
    bad: int
    faults: tuple[Fault, ...]
    first_us: int
    last_us: int
    kept: int = 0
    """Payments known before that this mapping would tell otherwise, by its constants: they stay as they were."""

    @property
    def summary(self) -> str:
        """
        >>> ImportReport(0, 0, 3, 0, (), 0, 0, kept=2).summary.splitlines()[1]
        '2 of them are told otherwise by this mapping and stay as they were ...'
        """
        told = f"{self.payments} payments and {self.labels} labels imported, {self.already_known} known before"
        if not self.kept:
            return told
        hint = "(other constants? a journal is never rewritten: import into a new directory)"
        return f"{told}\n{self.kept} of them are told otherwise by this mapping and stay as they were {hint}"


def import_files(
    files: Sequence[Path],
    mapping: Mapping,
    *,
    sequencer: BulkSequencer,
    subjects: SubjectMap,
    reporting: Reporting,
    live_features: FeatureSet | None = None,
    first_features: FeatureSet | None = None,
    strict: bool = False,
    shown_max: int = SHOWN_MAX,
    progress: Progress | None = None,
) -> ImportReport:
    """Append what the files hold to a journal that is open for importing.

    The same import again changes nothing; the report says where a mapping tells a known payment otherwise.

    `first_features` are declared where neither the directory nor the mapping declares any.
    `sequencer` flushes `subjects` before it commits. Under `strict` a row that cannot be used
    raises before anything is appended; else it is left out and reported. InputError (`import_out_of_order`) where the
    journal already holds later entries.
    """
    with HistoryTable(files, mapping) as table:
        faults = table.faults(shown_max)
        if strict and faults:
            raise refused(faults[0])
        run = Run(table, mapping, sequencer, Frozen(table.facts, mapping, subjects, reporting))
        run.declare(live_features, first_features)
        run.append_all(strict=strict, shown_max=shown_max - len(faults), progress=progress)
        return run.report(table.fault_count, faults)


class Run:
    """One import on its way."""

    def __init__(self, table: HistoryTable, mapping: Mapping, sequencer: BulkSequencer, frozen: "Frozen"):
        self._table, self._mapping, self._sequencer, self._frozen = table, mapping, sequencer, frozen
        self._payments = self._labels = self._known = self._kept = 0
        self._conflicts: list[Fault] = []
        self._conflict_count = 0

    def declare(self, live: FeatureSet | None, first: FeatureSet | None) -> None:
        """Control entries say what was imported how, from when history is complete, and which features it is for."""
        page = msgspec.to_builtins(self._mapping)
        digest = name_of("mapping", msgspec.json.encode(page, order="sorted").decode()).hex()
        after = {"mapping": page, "complete_from_us": self._mapping.complete_from_us}
        self._control(ControlRecord("import", digest, "import", "history was imported", None, after))
        declared = self._mapping.feature_set
        features = declared or (first if live is None else None)
        if features is not None and (live is None or live.digest != features.digest):
            before = msgspec.to_builtins(live) if live else None
            after = msgspec.to_builtins(features)
            why = "declared by the mapping" if declared else "first features of this directory"
            self._control(ControlRecord("features", features.digest, "import", why, before, after))

    def _control(self, record: ControlRecord) -> None:
        event_id = f"{record.subject}:{record.id}"
        if self._sequencer.stored(self._mapping.source, event_id) is None:
            at_us = max(self._table.first_us, self._sequencer.last_ingest_us)
            self._sequencer.append(
                control_draft(record, source=self._mapping.source, event_id=event_id, ingest_us=at_us)
            )

    def append_all(self, *, strict: bool, shown_max: int, progress: Progress | None) -> None:
        total = self._table.payment_count + self._table.label_count
        done, last_seq = 0, self._sequencer.position.seq
        for chunk in self._table.events():
            drafts = self._frozen.drafts(chunk)
            for row, draft, entry in zip(chunk, drafts, self._sequencer.append_all(drafts), strict=True):
                if isinstance(entry, Conflict):
                    self._conflict(row, strict=strict, shown_max=shown_max)
                    continue
                self._count(row, is_new=entry.seq > last_seq)
                self._kept += entry.seq <= last_seq and told_otherwise(draft, entry)
                last_seq = max(last_seq, entry.seq)
            done += len(chunk)
            if progress:
                progress(done, total)

    def _count(self, row: tuple[Any, ...], *, is_new: bool) -> None:
        self._known += not is_new
        self._labels += is_new and row[1]
        self._payments += is_new and not row[1]

    def _conflict(self, row: tuple[Any, ...], *, strict: bool, shown_max: int) -> None:
        self._conflict_count += 1
        if not strict and len(self._conflicts) >= shown_max:
            return
        file, line = self._table.place(row[2], row[3])
        fault = Fault(file, line, self._mapping.id, f"{row[4]!r} was imported before with other values")
        if strict:
            raise refused(fault)
        self._conflicts.append(fault)

    def report(self, bad: int, faults: list[Fault]) -> ImportReport:
        return ImportReport(
            payments=self._payments,
            labels=self._labels,
            already_known=self._known,
            bad=bad + self._conflict_count,
            faults=(*faults, *self._conflicts),
            first_us=self._table.first_us,
            last_us=self._table.last_us,
            kept=self._kept,
        )


class Frozen:
    """Rows of a table as drafts with frozen facts; every identifier is looked up once and then remembered."""

    def __init__(self, names: tuple[str, ...], mapping: Mapping, subjects: SubjectMap, reporting: Reporting):
        self._mapping, self._source, self._names = mapping, mapping.source, names
        self._reporting, self._subjects = reporting, subjects
        self._constants = constants_of(mapping, subjects)
        self._method = self._constants.get("method", "card")
        self._readers = [reader_of(name, subjects, method=self._method) for name in names]
        self._derives = not {"ip", "account_age_us", "method"}.isdisjoint(names)
        self._ip24 = Remembered(lambda ip: subjects.digest("ip24", network_of(ip)) if ip else "")
        self._answers = Remembered(self._answer)
        self._label_kind: LabelType = mapping.label.type if mapping.label else "fraud_report"
        label = Outcome(type=self._label_kind, source="-", event_id="-")
        self._label_payload = RECORD_ENCODER.encode(record_of(label))

    def drafts(self, chunk: list[tuple[Any, ...]]) -> list[Draft]:
        return [self._label(row) if row[1] else self._payment(row) for row in chunk]

    def _label(self, row: tuple[Any, ...]) -> Draft:
        at_us, _, _, _, event_id, _, _, _, body_hash, *_ = row
        return Draft(
            kind=self._label_kind,
            source=self._source,
            event_id=f"{event_id}:{self._label_kind}",
            body_hash=self._subjects.fingerprint(body_hash),
            payload=self._label_payload,
            occurred_us=at_us,
            ingest_us=at_us,
            refers_to=Reference(payment_id=event_id),
        )

    def _payment(self, row: tuple[Any, ...]) -> Draft:
        at_us, _, _, _, event_id, amount_minor, currency, answer, body_hash, *values = row
        told = self._answers[answer]
        facts = {name: read[value] for name, read, value in zip(self._names, self._readers, values, strict=True)}
        if self._derives:
            self._derive(facts, values, at_us)
        return Draft(
            kind="authorization",
            source=self._source,
            event_id=event_id,
            body_hash=self._subjects.fingerprint(body_hash),
            payload=told.payload,
            occurred_us=at_us,
            ingest_us=at_us,
            approved=told.approved,
            facts=Facts(
                payment_id=event_id,
                payment_us=at_us,
                amount_minor=amount_minor,
                currency=currency,
                amount_reporting_minor=self._reporting.minor(amount_minor, currency),
                attempt_id=event_id,
                code=told.code,
                decline_class=told.decline_class,
                **self._constants,
                **facts,
            ),
        )

    def _derive(self, facts: dict[str, Any], values: list[Any], at_us: int) -> None:
        """What is no column's own value: the address's network, the account's age, an instrument of a told method."""
        told = dict(zip(self._names, values, strict=True))
        if "ip" in told:
            facts["ip24"] = self._ip24[told["ip"]]
        if told.get("account_age_us") is not None:
            facts["account_age_us"] = max(0, at_us - told["account_age_us"])
        if "method" in told:
            facts["method"] = told["method"] or "card"
            if told.get("card"):
                facts["card"] = self._subjects.pseudonym(facts["method"], told["card"])

    def _answer(self, answer: str | None) -> "Answer":
        """The authorization that a word or code in the file tells of; `unknown` where the file does not tell."""
        told = self._mapping.authorization
        result: Literal["approved", "declined", "unknown"] = "unknown"
        if told is not None and answer is not None:
            result = "approved" if answer.lower() in told.approved else "declined"
        code = answer if answer and len(answer) <= CODE_MAX else None
        outcome = Outcome(type="authorization", source="-", event_id="-", result=result, network_response_code=code)
        payload = RECORD_ENCODER.encode(record_of(outcome))
        return Answer(payload, approved(outcome), code_of(outcome) or "", decline_class(outcome) or "")


class Answer(NamedTuple):
    """What an authorization entry says about the issuer's answer."""

    payload: bytes
    approved: bool | None
    code: str
    decline_class: str


class Remembered(dict[Any, Any]):
    """A function asked once per argument."""

    def __init__(self, function: Callable[[Any], Any]):
        super().__init__()
        self._function = function

    def __missing__(self, argument: Any) -> Any:
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        value = self[argument] = self._function(argument)
        return value


def reader_of(fact: str, subjects: SubjectMap, *, method: str) -> Remembered:
    """What a fact is, by the value in the file; absent where the file says nothing."""
    if fact == "account_age_us":
        return Remembered(lambda _created: -1)
    if fact in SUBJECTS:
        kind = method if fact == "card" else fact
        return Remembered(lambda text: 0 if text is None else subjects.pseudonym(kind, text))
    if fact in INT_FIELDS:
        absent = -1 if fact == "is_proxy" else 0
        return Remembered(lambda number: absent if number is None else number)
    if fact == "email_domain":
        return Remembered(lambda text: (text or "").lower())
    return Remembered(lambda text: text or CARD_DEFAULTS.get(fact, ""))


def constants_of(mapping: Mapping, subjects: SubjectMap) -> dict[str, Any]:
    """The facts that are the same for every row; a card has what the API gives one that says no more."""
    named = {path: value for path, value in mapping.constants.items() if path != "currency"}
    facts = {fact_of(path, param=f"$.constants.{path}"): value for path, value in named.items()}
    method = str(facts.get("method", "card"))
    constants = {fact: reader_of(fact, subjects, method=method)[value] for fact, value in facts.items()}
    told = {fact_of(path, param=f"$.columns.{path}") for path in mapping.columns if path != "currency"}
    defaults = CARD_DEFAULTS if "payment_method.card.fingerprint" in mapping.columns else {}
    return {fact: value for fact, value in defaults.items() if fact not in told} | constants


def told_otherwise(draft: Draft, entry: Entry) -> bool:
    """Whether a stored payment has other facts than the same row has now; its times are the first entry's."""
    if draft.facts is None or entry.facts is None:
        return False
    kept = entry.facts
    return replace(draft.facts, payment_us=kept.payment_us, account_age_us=kept.account_age_us) != kept


def refused(fault: Fault) -> InputError:
    """What a strict import raises for the first row it cannot use."""
    return InputError(
        f"{fault.file}:{fault.line}: {fault.message}",
        code="invalid_row",
        param=fault.column,
        hint="correct the row, or import without --strict to leave such rows out",
    )
