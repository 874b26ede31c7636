"""The obviously correct count of what the retry rules forbid: every attempt against all before it, from the tables.

Written from the rows of the tables alone; it shares no line with the limit engine. It judges with hindsight: an attempt
that turned out approved never counts. What was not yet in the journal when an attempt was granted could not be known.
"""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec

TABLES = Path(__file__).parents[2] / "src" / "greenlane" / "payments" / "data"
HOUR, DAY = 3_600_000_000, 86_400_000_000


def table(name):
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


LIMITS = table("network_retry_limits")
MEANINGS = {(row["network"], row["code"]): row for row in table("response_codes")}
CATEGORIES = {row["code"]: int(row["category"]) for row in table("visa_categories")}
ADVICE = {(row["mac"], row["de39"]): row for row in table("mastercard_mac")}


class Violation(NamedTuple):
    rule: str
    attempt_id: str
    count: int


class Attempt:
    """One attempt, as the journal tells it at its end."""

    def __init__(self, entry):
        self.id, self.facts, self.seq = entry.facts.attempt_id, entry.facts, entry.seq
        self.granted, self.at = False, min(entry.ingest_us, entry.occurred_us)
        self.declines, self.approved_seq, self.unsent = [], None, False

    @property
    def names(self):
        return {self.facts.card, self.facts.par} - {0}

    @property
    def counts(self):
        return self.approved_seq is None and (bool(self.declines) or not self.unsent)

    def declined_before(self, seq):
        return any(told < seq for told, *_ in self.declines)


def attempts_of(entries):
    found = {}
    for entry in entries:
        kind = entry.kind
        if entry.facts is None or kind not in ("decision", "authorization", "not_sent", "link"):
            continue
        if kind == "decision":
            if entry.facts.intervention in ("", "block") or not entry.facts.route_id:
                continue
            attempt = found.setdefault(entry.facts.attempt_id, Attempt(entry))
            attempt.granted, attempt.at = True, max(entry.ingest_us, entry.occurred_us)
            continue
        what, result, network, code, mac = (msgspec.msgpack.decode(entry.payload) + [None] * 4)[:5]
        attempt = found.setdefault(entry.facts.attempt_id, Attempt(entry))
        if what == "not_sent":
            attempt.unsent = True
        elif what == "authorization" and result == "declined":
            attempt.declines.append((entry.seq, network or attempt.facts.network, code or "", mac or ""))
        elif what == "authorization" and result != "unknown":
            attempt.approved_seq = attempt.approved_seq or entry.seq
    return sorted(found.values(), key=lambda attempt: attempt.seq)


def violations(entries):
    """Every granted attempt that a rule in force forbade, by what the journal held when it was granted."""
    attempts = attempts_of(entries)
    return [
        Violation(row["rule_id"], attempt.id, count)
        for attempt in attempts
        if attempt.granted and (attempt.declines or attempt.approved_seq or not attempt.unsent)
        for name in attempt.names
        for others in [[o for o in attempts if o.seq < attempt.seq and same_card(name, attempt, o)]]
        for row in LIMITS
        if in_force(row, attempt.at) and (count := excess(row, attempt, others))
    ]


def same_card(name, one, other):
    return name in other.names and one.facts.merchant_id == other.facts.merchant_id


def in_force(row, at):
    day = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).date().isoformat()
    return (row["effective_from"] or "0") <= day < (row["effective_to"] or "9")


def excess(row, attempt, others):
    judge = STOPS.get(row["applies_to"])
    if judge:
        return sum(judge(row, attempt, o, told) for o in others for told in o.declines if told[0] < attempt.seq)
    if row["action_over_limit"].split()[0] != "block" or not on_network(row, attempt.facts.network):
        return 0
    return over_count(row, attempt, [o for o in others if same_scope(row, attempt, o)])


def on_network(row, network):
    return row["network"] == "*" or network in row["network"].split(";")


def same_scope(row, one, other):
    parts = row["scope_key"].replace("(CIT|MIT)", "").split("+")
    fields = {"amount": "amount_minor", "currency": "currency", "initiator": "initiator"}
    return all(getattr(one.facts, f) == getattr(other.facts, f) for part, f in fields.items() if part in parts)


def over_count(row, attempt, others):
    start, end = window(row["window"], attempt.at)
    if "approval" in row["action_over_limit"]:
        approvals = [o.at for o in others if o.approved_seq and o.approved_seq < attempt.seq]
        others = [o for o in others if o.at > max(approvals, default=-1)]
    counted = [o for o in others if o.counts and start < o.at <= end]
    if row["counts"].startswith("re-attempts"):
        first = min((o.at for o in counted if o.declined_before(attempt.seq)), default=None)
        counted = [o for o in counted if first is not None and o.at > first]
    count = len(counted) + attempt.counts
    return count if attempt.counts and count > int(row["max_attempts"]) else 0


def window(text, at):
    if text == "calendar month":
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return (first - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) - 1, at
    number, unit = text.removeprefix("rolling ").split()[:2]
    return at - int(number) * {"hours": HOUR, "days": DAY}[unit], at


def category_1(row, attempt, other, told):
    _, network, code, _ = told
    return network == "visa" and CATEGORIES.get(code, 4) == 1 and not repaired(attempt, other, network, code)


def mac_stop(row, attempt, other, told):
    _, network, _, mac = told
    in_window = attempt.at < other.at + 30 * DAY
    return network == "mastercard" and mac in ("03", "21") and other.facts.channel != "pos" and in_window


def mac_wait(row, attempt, other, told):
    _, network, code, mac = told
    advice = ADVICE.get((mac, code)) if code == "51" else None
    if network != "mastercard" or advice is None:
        return False
    return attempt.at < other.at + int(advice["min_wait_hours"]) * HOUR


def hard(row, attempt, other, told):
    _, network, code, _ = told
    meaning = MEANINGS.get((network, code)) or MEANINGS.get(("*", code))
    if meaning is None or meaning["retry_policy"] != "never" or not meaning["stop_scope"].startswith("card"):
        return False
    return attempt.at < other.at + 30 * DAY and not repaired(attempt, other, network, code)


def repaired(attempt, other, network, code):
    """Another number, where the code says that this helps."""
    meaning = MEANINGS.get((network, code)) or MEANINGS[("*", code)]
    return attempt.facts.card != other.facts.card and meaning["needs"] in ("new_credential", "account_updater")


STOPS = {
    "category 1 declines": category_1,
    "MAC 03 or 21, CNP": mac_stop,
    "DE39 51 with MAC 24-30": mac_wait,
    "hard declines": hard,
}
