"""The limit engine: may this card be tried again at this merchant, and if not now, when?

A fold of what was sent. Granting an attempt reserves quota at once, before anybody knows the answer: a reservation
counts like a decline until an approval shows that it was none, and only `not_sent` gives it back. What was reported
but never granted counts too; a reserve is kept below the networks' caps for attempts that nobody tells us of.

Every attempt is counted under its fingerprint and under its PAR, at its merchant across all acquirers, and every rule
in force that day is asked under both: the strictest answer counts. What was approved is forgotten at once, what was not
when it has left the longest window; only what category 1 forbids stays for ever.
"""

from bisect import insort
from functools import lru_cache, reduce
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from greenlane.payments.codes import visa_category_of
from greenlane.payments.facts import Facts
from greenlane.payments.money import EXPONENTS
from greenlane.payments.times import DAY_US
from greenlane.policy import limit_rules
from greenlane.policy.limit_rules import ADVISING, CATEGORY_3, COUNTED, NEVER_US, STOPPING, Rule, Stop, month_us
from greenlane.ports.journal import Entry

SENDS: Final = frozenset(["allow", "exempt", "challenge", "review"])
"""Interventions after which something reaches the issuer."""

PENDING, UNKNOWN, DECLINED, APPROVED = range(4)
ANSWERS: Final = {"approved": APPROVED, "partially_approved": APPROVED, "declined": DECLINED, "unknown": UNKNOWN}

HORIZON_US: Final = 31 * DAY_US
"""The longest window: a calendar month."""

NOMINAL_MINOR: Final[dict[str, int]] = {currency: 10**decimals for currency, decimals in EXPONENTS.items()}
"""One unit of each currency."""

SENT_MAX: Final = 1_000
"""Attempts remembered per card and merchant, the latest: far more than any rule allows."""

SWEPT: Final = 2
"""Ledgers looked at with each entry for what has left every window, so that no request pays for a whole day."""

RESERVE: Final = 2
"""Attempts kept free below each network's cap, for those that Greenlane is never told of."""


class Asked(NamedTuple):
    """One attempt about to be made; the amount is in its own currency."""

    cards: tuple[int, ...]
    """Pseudonyms: the fingerprint first, then the PAR where there is one."""
    merchant_id: str
    amount_minor: int
    currency: str
    initiator: str
    network: str
    at_us: int
    attempt_id: str = ""
    """Of an attempt granted already (an earlier stage): its own reservation is not held against it."""
    channel: str = "ecommerce"


class Verdict(NamedTuple):
    allowed: bool
    rule: str
    """Which rule forbids, else the one that has least left; "" where none applies."""
    earliest_us: int | None
    """When it is allowed, as far as is known now; None is never."""
    attempts_left: int
    """Including this one."""
    advice: tuple[str, ...] = ()
    """Rules over the merchant's traffic that are exceeded: a fee is due, or another message should be used."""


class Sent(NamedTuple):
    """One attempt as it is remembered."""

    attempt: int
    at_us: int
    amount_minor: int
    currency: str
    initiator: str
    state: int
    cleared: bool
    """An approval in the same scope came after it."""


class Forbidden(NamedTuple):
    """One stop as it is remembered: `fingerprint` is the credential that was refused."""

    applies_to: int
    until_us: int
    repairable: bool
    fingerprint: int


class Ledger(Struct, array_like=True, gc=False):
    """What is remembered of one card at one merchant."""

    sent: list[Sent] = []
    stops: list[Forbidden] = []


class Answer(Struct, frozen=True, array_like=True, gc=False):
    """The payload of an outcome entry, as far as this room reads it."""

    type: str
    result: str | None = None
    network: str | None = None
    network_response_code: str | None = None
    merchant_advice_code: str | None = None


class Staged(Struct, frozen=True, array_like=True, gc=False):
    """A decision's attempt, as far as this room reads it."""

    stage: str


class Deciding(Struct, frozen=True, array_like=True, gc=False):
    """The payload of a decision entry, as far as this room reads it."""

    attempt: Staged


class Binding(NamedTuple):
    """The rules in force for a network on a day; stops by their number in STOPPING."""

    counted: tuple[Rule, ...]
    unsent: "Held"
    """The strictest answer where nothing was sent."""
    stopping: dict[int, Rule]
    advising: tuple[Rule, ...]


class Held(NamedTuple):
    """One rule's answer: `left` attempts, and when it lets one through."""

    left: int
    rule: str
    free_us: int


ANSWER_DECODER: Final = msgspec.msgpack.Decoder(Answer)
DECIDING_DECODER: Final = msgspec.msgpack.Decoder(Deciding)
DUMP_ENCODER: Final = msgspec.msgpack.Encoder()
Key = tuple[int, str]
Dump = tuple[int, list[tuple[int, str, Ledger]], dict[str, dict[int, int]]]
DUMP_DECODER: Final = msgspec.msgpack.Decoder(Dump)
UNLIMITED: Final = Held(2**31, "", 0)


class Limits:
    """The fold. Two instances that were given the same entries give the same verdicts, and the same `dump`.

    >>> limits = Limits()
    >>> asked = Asked((7,), "shop_1", 1999, "EUR", "cit", "visa", at_us=0)
    >>> limits.verdict(asked)
    Verdict(allowed=True, rule='HOUSE_24H', earliest_us=0, attempts_left=4, advice=())
    """

    def __init__(self, rules: tuple[Rule, ...] | None = None, *, reserve: int = RESERVE):
        self.rules = limit_rules.rules() if rules is None else rules
        self.reserve = reserve
        self._ledgers: dict[Key, Ledger] = {}
        self._category_3: dict[str, dict[int, int]] = {}
        """Category 3 declines by merchant and day."""
        self._to_sweep: list[Key] = []
        self._binding: dict[tuple[str, int], Binding] = {}
        self._now_us = 0

    def verdict(self, asked: Asked) -> Verdict:
        """Every rule in force at `asked.at_us`, under every name of the card."""
        held = self._strictest(asked, asked.at_us)
        advice = self._advice(asked)
        if held.left > 0:
            return Verdict(True, held.rule, asked.at_us, held.left, advice)
        at_us, again = held.free_us, held
        while at_us < NEVER_US:
            again = self._strictest(asked, at_us)
            if again.left > 0:
                return Verdict(False, held.rule, at_us, 0, advice)
            at_us = again.free_us
        return Verdict(False, again.rule, None, 0, advice)

    def apply(self, entry: Entry) -> None:
        """Folds in grants, answers and `not_sent`; passes over everything else."""
        self._now_us = max(self._now_us, entry.ingest_us)
        facts = entry.facts
        if facts is None:
            return
        if entry.kind == "decision":
            if facts.intervention in SENDS and facts.route_id and not _sent_already(entry):
                self._grant(facts, max(entry.ingest_us, entry.occurred_us))
        elif entry.kind in ("authorization", "not_sent", "link"):
            answer = ANSWER_DECODER.decode(entry.payload)
            if answer.type == "authorization":
                self._answered(facts, answer, min(entry.ingest_us, entry.occurred_us))
            elif answer.type == "not_sent":
                self._release(facts)
        self._sweep()

    def dump(self) -> bytes:
        """The whole state: the same bytes for the same entries, whether folded at once or across restarts."""
        for key, ledger in list(self._ledgers.items()):
            self._drop_if_empty(key, _pruned(ledger, self._now_us))
        kept = [(*key, ledger) for key, ledger in sorted(self._ledgers.items())]
        merchants = {merchant: dict(sorted(days.items())) for merchant, days in sorted(self._category_3.items())}
        return DUMP_ENCODER.encode((self._now_us, kept, merchants))

    @classmethod
    def load(cls, dumped: bytes) -> "Limits":
        """
        >>> Limits.load(Limits().dump()).dump() == Limits().dump()
        True
        """
        limits = cls()
        limits._now_us, kept, limits._category_3 = DUMP_DECODER.decode(dumped)
        limits._ledgers = {(card, merchant_id): ledger for card, merchant_id, ledger in kept}
        return limits

    # what was sent

    def _grant(self, facts: Facts, at_us: int) -> None:
        attempt = _number(facts.attempt_id)
        for key in _keys(facts):
            ledger = self._ledger(key)
            at = _place(ledger, attempt)
            if at is None or ledger.sent[at].state == DECLINED:
                self._add(ledger, _sent(facts, attempt, at_us, PENDING))
            else:
                ledger.sent[at] = ledger.sent[at]._replace(at_us=max(ledger.sent[at].at_us, at_us))

    def _answered(self, facts: Facts, answer: Answer, told_us: int) -> None:
        state = ANSWERS.get(answer.result or "", UNKNOWN)
        sent = _sent(facts, _number(facts.attempt_id), told_us, state)
        fresh = [self._heard(key, sent, facts, answer) for key in _keys(facts)]
        if any(fresh) and state == DECLINED:
            self._count_category_3(facts, answer)

    def _heard(self, key: Key, sent: Sent, facts: Facts, answer: Answer) -> bool:
        """Whether this ledger did not know it."""
        ledger = self._ledger(key)
        at = _place(ledger, sent.attempt)
        before = None if at is None else ledger.sent[at]
        if before is not None:
            sent = before._replace(at_us=max(before.at_us, sent.at_us), state=max(before.state, sent.state))
        if sent.state == APPROVED:
            ledger.sent = [_cleared(each, sent) for each in ledger.sent if each.attempt != sent.attempt]
            self._drop_if_empty(key, ledger)
            return False
        if at is None:
            self._add(ledger, sent)
        else:
            ledger.sent[at] = sent
        if sent.state == DECLINED:
            self._stop(ledger, facts, answer, sent.at_us)
        return before is None or before.state != sent.state

    def _release(self, facts: Facts) -> None:
        """An answer stands whatever is said later; only what nobody answered was perhaps never sent."""
        attempt = _number(facts.attempt_id)
        for key in _keys(facts):
            ledger = self._ledgers.get(key)
            if ledger is not None:
                ledger.sent = [s for s in ledger.sent if s.attempt != attempt or s.state > UNKNOWN]
                self._drop_if_empty(key, ledger)

    def _stop(self, ledger: Ledger, facts: Facts, answer: Answer, at_us: int) -> None:
        network, code, mac = _codes(facts, answer)
        for stop in limit_rules.stops_of(network, code, mac, channel=facts.channel, at_us=at_us):
            forbidden = _forbidden(stop, facts.card)
            if forbidden not in ledger.stops:
                ledger.stops.append(forbidden)

    def _count_category_3(self, facts: Facts, answer: Answer) -> None:
        network, code, _ = _codes(facts, answer)
        if network == "visa" and facts.channel != "pos" and visa_category_of(code).category == 3:
            days = self._category_3.setdefault(facts.merchant_id, {})
            today = self._now_us // DAY_US
            days[today] = days.get(today, 0) + 1
            for day in [day for day in days if day <= today - 31]:
                del days[day]

    def _ledger(self, key: Key) -> Ledger:
        ledger = self._ledgers.get(key)
        if ledger is None:
            ledger = self._ledgers[key] = Ledger([], [])
        return ledger

    def _add(self, ledger: Ledger, sent: Sent) -> None:
        ledger.sent.append(sent)
        if len(ledger.sent) > SENT_MAX:
            del _pruned(ledger, self._now_us).sent[:-SENT_MAX]

    def _drop_if_empty(self, key: Key, ledger: Ledger) -> None:
        if not ledger.sent and not ledger.stops:
            del self._ledgers[key]

    def _sweep(self) -> None:
        for _ in range(SWEPT):
            if not self._to_sweep:
                self._to_sweep = list(self._ledgers)
            if self._to_sweep:
                key = self._to_sweep.pop()
                ledger = self._ledgers.get(key)
                if ledger is not None:
                    self._drop_if_empty(key, _pruned(ledger, self._now_us))

    # what may be sent

    def _strictest(self, asked: Asked, at_us: int) -> Held:
        """The rule with least left; among those that forbid, the one that does so longest."""
        binding = self._in_force(asked.network, at_us)
        worst, attempt = UNLIMITED, _number(asked.attempt_id) if asked.attempt_id else 0
        seen = [ledger for card in asked.cards if card and (ledger := self._ledgers.get((card, asked.merchant_id)))]
        if not seen:
            return binding.unsent._replace(free_us=at_us)
        for ledger in seen:
            for forbidden in ledger.stops:
                rule = binding.stopping.get(forbidden.applies_to)
                if rule is not None and at_us < forbidden.until_us and not _cured(forbidden, asked):
                    worst = _stricter(worst, Held(0, rule.rule_id, forbidden.until_us))
            open_ = [each for each in ledger.sent if each.attempt != attempt or each.state == DECLINED]
            for rule in binding.counted:
                worst = _stricter(worst, self._held(rule, open_, asked, at_us=at_us))
        return worst

    def _held(self, rule: Rule, sent: list[Sent], asked: Asked, *, at_us: int) -> Held:
        """Counts what lies within one window of `at_us`, before or (scheduled) after it."""
        month = month_us(at_us // DAY_US) if rule.window_us == 0 else None
        low, high = (month[0] - 1, month[1]) if month else (at_us - rule.window_us, at_us + rule.window_us)
        times: list[int] = []
        for each in sent:
            if (
                low < each.at_us < high
                and not (rule.amount and each.amount_minor != asked.amount_minor)
                and not (rule.currency and each.currency != asked.currency)
                and not (rule.initiator and each.initiator != asked.initiator)
                and not (rule.resets and each.cleared)
            ):
                insort(times, each.at_us)
        left = self._cap(rule) - len(times)
        if left > 0:
            return Held(left, rule.rule_id, at_us)
        return Held(0, rule.rule_id, month[1] if month else times[-left] + rule.window_us)

    def _cap(self, rule: Rule) -> int:
        return max(1, rule.attempts_max - (self.reserve if rule.networks else 0))

    def _advice(self, asked: Asked) -> tuple[str, ...]:
        advising = self._in_force(asked.network, asked.at_us).advising
        return tuple(rule.rule_id for rule in advising if self._exceeded(rule, asked)) if advising else ()

    def _exceeded(self, rule: Rule, asked: Asked) -> bool:
        if asked.channel == "pos":
            return False
        if rule.applies_to == CATEGORY_3:
            days = self._category_3.get(asked.merchant_id, {})
            first = (asked.at_us - rule.window_us) // DAY_US
            return sum(count for day, count in days.items() if day > first) >= rule.attempts_max
        return 0 < asked.amount_minor <= NOMINAL_MINOR[asked.currency]

    def _in_force(self, network: str, at_us: int) -> Binding:
        key = network, at_us // DAY_US
        found = self._binding.get(key)
        if found is None:
            if len(self._binding) >= 1_000:
                self._binding.clear()
            found = self._binding[key] = self._bound(network, at_us)
        return found

    def _bound(self, network: str, at_us: int) -> Binding:
        """A stop binds on every network: it is the card that was stopped, whatever name it goes by today."""
        dated = tuple(rule for rule in self.rules if rule.from_us <= at_us < rule.until_us)
        own = tuple(rule for rule in dated if rule.binds(network, at_us))
        counted = tuple(rule for rule in own if rule.applies_to in COUNTED)
        unsent = (Held(self._cap(rule), rule.rule_id, at_us) for rule in counted)
        return Binding(
            counted,
            reduce(_stricter, unsent, UNLIMITED),
            {STOPPING.index(rule.applies_to): rule for rule in dated if rule.applies_to in STOPPING},
            tuple(rule for rule in own if rule.applies_to in ADVISING),
        )


def _keys(facts: Facts) -> list[Key]:
    card, par, merchant = facts.card, facts.par, facts.merchant_id
    return [(each, merchant) for each in ((card,) if par == card else (card, par)) if each]


@lru_cache(maxsize=4_096)
def _number(attempt_id: str) -> int:
    return int.from_bytes(blake2b(attempt_id.encode(), digest_size=8).digest(), "little")


def _sent(facts: Facts, attempt: int, at_us: int, state: int) -> Sent:
    return Sent(attempt, at_us, facts.amount_minor, facts.currency, facts.initiator, state, False)


def _sent_already(entry: Entry) -> bool:
    """A decision about a payment that others have had approved grants no attempt."""
    if b"post_authorization" not in entry.payload:
        return False
    return DECIDING_DECODER.decode(entry.payload).attempt.stage == "post_authorization"


def _place(ledger: Ledger, attempt: int) -> int | None:
    for at in range(len(ledger.sent) - 1, -1, -1):
        if ledger.sent[at].attempt == attempt:
            return at
    return None


def _cleared(each: Sent, approved: Sent) -> Sent:
    if each[2:5] == approved[2:5] and each.at_us <= approved.at_us:
        return each._replace(cleared=True)
    return each


def _codes(facts: Facts, answer: Answer) -> tuple[str, str, str]:
    """Network, response code and advice code."""
    return answer.network or facts.network, answer.network_response_code or "", answer.merchant_advice_code or ""


def _forbidden(stop: Stop, fingerprint: int) -> Forbidden:
    return Forbidden(STOPPING.index(stop.applies_to), stop.until_us, stop.repairable, fingerprint)


def _cured(forbidden: Forbidden, asked: Asked) -> bool:
    """Another number of the same account, and a code that this repairs."""
    return forbidden.repairable and asked.cards[0] != forbidden.fingerprint


def _stricter(one: Held, other: Held) -> Held:
    if other.left < one.left or (other.left <= 0 and one.left <= 0 and other.free_us > one.free_us):
        return other
    return one


def _pruned(ledger: Ledger, now_us: int) -> Ledger:
    """The same ledger, without what no rule can reach any more."""
    floor_us = now_us - HORIZON_US
    for each in ledger.sent:
        if each.at_us <= floor_us:
            ledger.sent = [each for each in ledger.sent if each.at_us > floor_us]
            break
    if ledger.stops:
        ledger.stops = [each for each in ledger.stops if each.until_us > now_us]
    return ledger
