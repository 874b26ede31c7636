"""What comes next, story by story."""

import pytest
from msgspec.structs import replace

from greenlane.merchants.economics import Economics, RouteTerms
from greenlane.payments.attempt import (
    Attempt,
    Card,
    LocalMethod,
    NetworkToken,
    Payment,
    PaymentMethod,
    Route,
    ThreeDS,
    Verification,
)
from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US, format_rfc3339, parse_rfc3339
from greenlane.policy.case import TRIES_MAX, Case
from greenlane.policy.distribution import TOTAL
from greenlane.policy.explore import PPM, Allowance, Allowances, Context, Exploring, recorded_draw
from greenlane.policy.given import Barred, Given
from greenlane.policy.history import History, Tried
from greenlane.policy.limits import Asked, Limits, Verdict
from greenlane.policy.next_action import (
    Outlook,
    capturable_minor,
    double_approvals,
    next_action,
    outlooks_of,
    times,
)
from greenlane.policy.parameters import Policy
from greenlane.policy.priors import Approval
from greenlane.policy.recovery import STATED
from greenlane.policy.tries import PLANS, drawn, worth_of

NOW_US = parse_rfc3339("2026-11-24T11:00:00Z")  # a Tuesday
POLICY = Policy(perspective="merchant")
SHOP = Economics(country="DE")
FORBIDDEN = Verdict(False, "HOUSE_24H", NOW_US + DAY_US, 0)


def attempt(network="visa", initiator="cit", *, method="card", routes=("a", "b"), token=None):
    if method == "card":
        card = Card(fingerprint="fp_1", network=network, issuer_country="DE", token=token)
        paid_with = PaymentMethod(card=card)
    else:
        paid_with = PaymentMethod(type=method, **{method: LocalMethod(fingerprint="fp_1", bank_country="DE")})
    payment = Payment(
        id="p", amount=10_000, currency="EUR", merchant_id="m", payment_method=paid_with, initiator=initiator
    )
    return Attempt(attempt_id="att_9", payment=payment, eligible_routes=tuple(Route(id=r) for r in routes))


def tried(code="", mac="", *, answer="declined", network="visa", route="a", no=1, ago_us=1_000_000, credential="pan"):
    return Tried(
        f"att_{no}",
        no,
        route,
        credential,
        at_us=NOW_US - ago_us,
        answer=answer,
        network=network,
        code=code,
        advice=mac,
    )


def given(*past, fraud=0.001, **more):
    history = History(tried=past, **{key: more.pop(key) for key in list(more) if key in History._fields})
    fraud_e9 = None if fraud is None else round(fraud * 1e9)
    return Given(amount_minor=10_000, fraud_probability_e9=fraud_e9, ingest_us=NOW_US, history=history, **more)


def after(*past, of=None, economics=SHOP, outlooks=(), partial_accepted=False, draw=None, **more):
    return next_action(
        of or attempt(network=past[-1].network if past else "visa"),
        given(*past, **more),
        outlooks,
        economics=economics,
        policy=POLICY,
        partial_accepted=partial_accepted,
        draw=draw,
    )


def mit(network="visa", **more):
    return attempt(network, "mit", **more)


# before anything else


@pytest.mark.parametrize("past", [tried(answer="unknown"), tried("TO", network="gateway"), tried("94")])
def test_what_may_have_been_approved_is_queried_or_reversed_first(past):
    found = after(past)
    assert (found.next, found.about) == ("query_or_reverse", "att_1")


def test_an_earlier_attempt_nobody_heard_of_comes_before_a_later_decline():
    found = after(tried(answer="pending"), tried("05", no=2, route="b"))
    assert (found.next, found.about) == ("query_or_reverse", "att_1")


def test_two_approvals_of_one_payment_and_the_later_is_reversed():
    found = after(tried(answer="approved"), tried(answer="approved", no=2))
    assert (found.next, found.about, found.stop_reason) == ("void", "att_2", "approved_twice")
    assert double_approvals((tried(answer="reversed"), tried(answer="approved", no=2))) == ()


def test_no_more_is_captured_than_was_approved():
    assert capturable_minor(100, [60, 60]) == 0
    assert capturable_minor(100, [60]) == 40


# after an approval


def test_an_approval_is_captured():
    assert after(tried(answer="approved")).next == "capture"


def test_a_wrong_address_and_code_can_make_an_approval_worth_less_than_voiding_it():
    clean = after(tried(answer="approved"), fraud=0.2, approved=True, avs="Y", cvv="M")
    wrong = after(tried(answer="approved"), fraud=0.2, approved=True, avs="N", cvv="N")
    assert (clean.next, wrong.next, wrong.runner_up.next) == ("capture", "void", "capture")
    assert wrong.value_micro > wrong.runner_up.value_micro


def test_a_partial_approval_is_reversed_unless_it_was_wanted():
    part = tried(answer="partially_approved")
    assert after(part).stop_reason == "partial_approval"
    wanted = after(part, partial_accepted=True)
    assert (wanted.next, wanted.changes) == ("capture", ("collect_remainder",))


# after an authentication


def test_an_authenticated_payment_is_sent_and_no_place_is_taken_twice():
    found = after(tried(answer="pending"), status="Y", flow="challenge", liability_shifted=True)
    assert (found.next, found.about, found.action.intervention) == ("authorize", "att_1", "allow")


def test_a_technical_failure_of_authentication_is_sent_unless_the_law_forbids_it():
    assert after(tried(answer="pending"), status="U").next == "authorize"


def test_who_failed_is_not_sent_and_who_was_rejected_is_offered_nothing():
    failed, rejected = (after(tried(answer="pending"), status=status) for status in "NR")
    assert (failed.next, failed.stop_reason) == ("reoffer", "authentication_failed")
    assert rejected.next == "stop"
    assert failed.stop_micro < 0


# after a decline


@pytest.mark.parametrize("code", ["91", "96", "05", "03", "30"])
def test_what_another_route_can_cure_goes_there_at_once(code):
    found = after(tried(code))
    assert (found.next, found.at_us, found.action.route, found.changes) == (
        "retry_now",
        NOW_US,
        "b",
        ("other_route",),
    )


def test_a_cascade_happens_once():
    found = after(tried("05", ago_us=MINUTE_US), tried("05", no=2, route="b", ago_us=1_000_000))
    assert found.next == "reoffer"


def test_a_provably_unsent_attempt_goes_to_another_route():
    found = after(tried(answer="not_sent"))
    assert (found.next, found.action.route, found.attempts_used) == ("retry_now", "b", 0)


def test_a_route_that_is_out_is_passed_over():
    found = after(tried("91"), barred=(Barred("b", "pan", "breaker"),))
    assert "other_route" not in found.changes


def test_while_every_route_is_shut_a_payment_waits():
    shut = tuple(Barred(route, "pan", "scheduled") for route in ("a", "b"))
    found = next_action(attempt(initiator="mit"), given(tried("91"), barred=shut), economics=SHOP, policy=POLICY)
    assert found.next == "retry_at" and found.action.route in ("a", "b")


def test_without_a_probability_no_more_is_tried_again_than_the_merchants_cap():
    def after(cap):
        shop = Economics(country="DE", unscored_amount_max_minor=cap)
        return next_action(attempt(), given(tried("91"), fraud=None), economics=shop, policy=POLICY)

    assert after(10_000).action.intervention == "allow"
    assert after(9_999).action.intervention == "challenge"


def test_a_restricted_card_is_tried_where_the_route_is_domestic_only():
    far = Economics(country="DE", routes=(RouteTerms(id="a", acquirer_country="US"), RouteTerms(id="b")))
    home = Economics(country="DE")
    assert after(tried("62"), economics=far).changes == ("other_route",)
    assert after(tried("62"), economics=home).next == "reoffer"


def test_want_of_funds_with_nobody_present_waits_for_a_payday_morning():
    found = after(tried("51", ago_us=5 * HOUR_US), of=mit())
    assert found.next == "retry_at"
    assert format_rfc3339(found.at_us)[:16] == "2026-11-25T07:30"  # the 25th, 08:30 in Berlin


def test_want_of_funds_with_the_payer_present_is_a_matter_of_another_card():
    found = after(tried("51"))
    assert (found.next, found.changes, found.stop_reason) == ("reoffer", ("other_method",), "not_worth_another_try")


def test_mastercards_wait_is_kept():
    found = after(tried("51", "30", network="mastercard"), of=mit("mastercard"))
    assert found.at_us >= NOW_US + 10 * DAY_US


def test_advice_to_try_later_is_no_leave_to_cascade():
    found = after(tried("05", "02", network="mastercard"), of=mit("mastercard"))
    assert found.next == "retry_at"
    assert found.at_us >= NOW_US + 72 * HOUR_US


@pytest.mark.parametrize("code", ["1A", "70"])
def test_a_soft_decline_is_challenged_without_an_exemption(code):
    found = after(tried(code))
    assert (found.next, found.action.intervention) == ("retry_now", "challenge")
    assert found.changes == ("challenge", "no_exemption")


def test_mastercards_65_asks_for_authentication_where_the_law_does_and_is_a_limit_elsewhere():
    in_scope = after(tried("65", network="mastercard"))
    abroad = after(tried("65", network="mastercard"), economics=Economics(country="US"))
    assert in_scope.action.intervention == "challenge"
    assert (abroad.next, abroad.action) == ("reoffer", None)


def test_a_soft_decline_with_nobody_present_needs_the_payer():
    assert after(tried("1A"), of=mit()).stop_reason == "needs_the_payer"


def test_suspected_fraud_is_tried_again_with_a_challenge_or_not_at_all():
    assert after(tried("59")).action.intervention == "challenge"
    assert after(tried("59"), of=mit()).next == "stop"


def test_wrong_data_are_asked_for_twice():
    wrong = [tried("N7", no=no, ago_us=HOUR_US * (9 - no)) for no in (1, 2, 3)]
    assert after(*wrong[:1]).next == after(*wrong[:2]).next == "repair"
    assert after(*wrong).stop_reason == "data_wrong_again"


def test_an_expired_card_is_tried_with_its_token_else_updated_once():
    token = mit(token=NetworkToken())
    found = after(tried("54"), of=token)
    assert (found.next, found.action.credential, found.changes) == (
        "retry_now",
        "network_token",
        ("network_token",),
    )
    assert after(tried("54"), of=mit()).changes == ("account_updater",)
    assert after(tried("54"), tried("54", no=2), of=mit()).next == "stop"


def test_a_refused_token_gives_way_to_the_number():
    past = tried("88", network="mastercard", credential="network_token")
    found = after(past, of=attempt("mastercard", token=NetworkToken()))
    assert (found.next, found.action.credential) == ("retry_now", "pan")


@pytest.mark.parametrize("code", ["43", "07", "34"])
def test_after_a_stolen_card_nothing_is_offered(code):
    assert after(tried(code)).next == "stop"


def test_a_revoked_mandate_is_cancelled():
    found = after(tried("R1"), of=mit())
    assert (found.next, found.changes, found.stop_reason) == ("stop", ("cancel_mandate",), "revoked_authorization")


def test_a_code_nobody_knows_is_not_tried_again():
    assert after(tried("??"), of=mit()).next == "stop"


def test_tries_end():
    past = [tried("51", no=no, ago_us=DAY_US * (20 - no)) for no in range(TRIES_MAX)]
    assert after(*past, of=mit()).stop_reason == "tries_used_up"


# limits, money, models


def test_what_the_limits_forbid_is_not_done_and_the_rule_is_named():
    found = after(tried("91"), outlooks=[Outlook(NOW_US, FORBIDDEN)])
    assert (found.next, found.stop_reason, found.limit_rule) == ("reoffer", "limit", "HOUSE_24H")


def test_the_time_that_the_limits_allow_is_considered():
    limits, past = Limits(), tried("51")
    asked = Asked((1,), "m", 10_000, "EUR", "mit", "visa", NOW_US)
    told = outlooks_of(mit(), given(past), limits, asked, economics=SHOP)
    assert [outlook.at_us for outlook in told] == list(times(mit(), given(past), economics=SHOP))
    found = after(past, of=mit(), outlooks=told)
    assert (found.next, found.limit_rule, found.attempts_cap) == ("retry_at", "HOUSE_24H", 5)


def test_times_with_nobody_present_are_mornings_and_no_sundays():
    proposed = times(mit(), given(tried("51")), economics=SHOP)
    assert proposed[0] == NOW_US
    assert all(format_rfc3339(us)[11:16] == "07:30" for us in proposed[1:])
    assert len(proposed) < 20
    assert proposed[-1] <= NOW_US + 30 * DAY_US


def test_a_probable_fraud_is_not_tried_again():
    found = after(tried("05"), fraud=0.7)
    assert (found.next, found.stop_reason) == ("reoffer", "not_worth_another_try")


def test_what_a_model_believes_of_each_way_counts():
    def approval(good):
        return Approval(good, good, good, good, good, good, 0)

    ways = (approval(10_000_000), approval(50_000_000), approval(600_000_000))
    told = [Outlook(NOW_US, Verdict(True, "", NOW_US, 4), ways)]
    found = after(tried("91"), of=attempt(routes=("a", "b", "c")), outlooks=told)
    assert (found.next, found.action.route) == ("retry_now", "c")


def test_terms_add_up_to_the_value_of_what_is_done_at_once():
    found = after(tried("91"))
    assert sum(found.terms_micro) == found.value_micro
    assert found.value_micro > found.runner_up.value_micro >= found.stop_micro


def test_without_a_probability_the_order_of_remedies_decides():
    found = after(tried("91"), fraud=None)
    assert (found.next, found.action.route, found.terms_micro) == ("retry_now", "b", (0,) * 9)
    assert after(tried("43"), fraud=None).next == "stop"


# other rails


@pytest.mark.parametrize("method", ["pix", "ideal", "upi", "blik"])
def test_a_push_is_offered_again_and_never_retried(method):
    past = tried("", network="", credential="")
    assert after(past, of=attempt(method=method)).changes == ("new_payment",)
    assert after(past, past, past, of=attempt(method=method)).next == "stop"


def test_a_returned_direct_debit_is_presented_twice_more():
    debit = attempt(method="us_bank_account")
    past = [tried("R01", network="", credential="", no=no) for no in (1, 2, 3)]
    first = after(past[0], of=debit)
    assert first.next == "retry_at"
    assert "RETRY PYMT" in first.changes[0]
    assert after(*past, of=debit).stop_reason == "presented_often_enough"


@pytest.mark.parametrize(("code", "expected"), [("R07", "stop"), ("R10", "stop"), ("R19", "repair")])
def test_ach_returns_have_their_own_table(code, expected):
    assert after(tried(code, network="", credential=""), of=attempt(method="us_bank_account")).next == expected


@pytest.mark.parametrize(
    ("code", "expected"), [("AM04", "retry_at"), ("MS03", "retry_at"), ("MD01", "stop"), ("RR02", "repair")]
)
def test_sepa_reasons_have_their_own_table(code, expected):
    assert after(tried(code, network="", credential=""), of=attempt(method="sepa_debit")).next == expected


def test_an_unspecified_sepa_reason_is_tried_once():
    past = [tried("MS03", network="", credential="", no=no) for no in (1, 2)]
    assert after(*past, of=attempt(method="sepa_debit")).stop_reason == "presented_often_enough"


EXPLORING = Context(
    payment_id="p",
    attempt_no=2,
    amount_minor=10_000,
    allowances=Allowances(route=Allowance(10**12, 10**12, PPM)),
    deviations_millilogit=(150, 150, 150),
)
THREE = attempt(routes=("a", "b", "c"))
LAST = recorded_draw(TOTAL - 1)


def test_the_way_of_a_further_attempt_is_drawn_among_those_nearly_as_good():
    found = after(tried("91"), of=THREE, context=EXPLORING, draw=LAST)
    assert (found.next, found.action.route, found.drawn.may.ways[1].route) == ("retry_now", "c", "c")
    assert found.drawn.explored.explored and found.drawn.explored.kind == "route"
    assert sum(found.drawn.explored.distribution) == TOTAL and found.drawn.explored.distribution[-1] == 0
    assert found.drawn.explored.charged_micro > found.drawn.explored.expected_micro == 0
    assert found.runner_up.action.route == "b"


def test_a_drawn_way_is_never_the_one_that_was_refused():
    found = after(tried("91"), of=THREE, context=EXPLORING, draw=LAST)
    assert "a" not in {way.route for way in found.drawn.may.ways}


@pytest.mark.parametrize(
    "why",
    [
        {"draw": None},
        {"context": None},
        {"context": replace(EXPLORING, barred=True)},
        {"context": replace(EXPLORING, amount_minor=Exploring().route.amount_max_minor + 1)},
        {"context": replace(EXPLORING, allowances=Allowances())},
        {"outlooks": (Outlook(NOW_US, Verdict(True, "HOUSE_24H", NOW_US, 1)),)},
        {"context": replace(EXPLORING, unhealthy=0b100)},
        {"fraud": None},
    ],
    ids=("no draw", "no budget given", "attacked cell", "large amount", "spent", "last attempt", "broken", "no model"),
)
def test_without_leave_to_explore_a_further_attempt_takes_the_best_way(why):
    found = after(tried("91"), of=THREE, **{"context": EXPLORING, "draw": LAST} | why)
    assert (found.next, found.action.route, found.drawn) == ("retry_now", "b", None)


def test_a_later_attempt_is_not_drawn_before_its_time():
    found = after(tried("51"), of=attempt(initiator="mit"), context=EXPLORING, draw=LAST)
    assert (found.next, found.drawn) == ("retry_at", None)


@pytest.mark.parametrize("status", ["C", "D"])
def test_a_challenge_that_is_under_way_goes_on_over_the_same_way(status):
    asked = replace(attempt(), verification=Verification(three_ds=ThreeDS(trans_status=status)))
    found = after(replace(tried(answer="pending"), intervention="challenge"), of=asked)
    assert (found.next, found.about, found.changes) == ("authorize", "att_1", ("complete_challenge",))
    assert (found.action.intervention, found.action.route) == ("challenge", "a")


def test_an_issuer_that_still_asks_who_pays_after_two_challenges_is_left():
    challenged = [replace(tried("1A", no=no), intervention="challenge", decline_class="sca") for no in (2, 3)]
    soft = replace(tried("1A", no=1), decline_class="sca")
    assert after(soft, of=attempt()).changes == ("challenge", "no_exemption")
    assert after(soft, challenged[0], of=attempt()).next == "retry_now"
    found = after(soft, *challenged, of=attempt())
    assert (found.next, found.stop_reason) == ("reoffer", "challenged_often_enough")


@pytest.mark.parametrize("code", ["05", "14", "51", "54", "59", "65", "91", "1A", "N7"])
@pytest.mark.parametrize("initiator", ["cit", "mit"])
def test_without_a_model_no_further_attempt_asks_for_an_exemption(code, initiator):
    exempting = RouteTerms(id="b", exemptions=("low_value", "transaction_risk_analysis"))
    shop = Economics(country="DE", routes=(exempting,), low_value_max_minor=20_000, sca_mandated=True)
    found = after(tried(code), of=attempt(initiator=initiator), economics=shop, fraud=None)
    actions = [each.action for each in found.considered if each.action is not None]
    assert all(not action.exemption for action in [found.action, *actions] if action is not None)


def test_what_is_worth_no_more_than_the_end_is_not_left_to_chance():
    asked = given(tried("91"), context=EXPLORING)
    case = Case(attempt=THREE, given=asked, economics=SHOP, policy=POLICY, table=STATED, draw=LAST)
    plan = next(plan for plans in PLANS for plan in plans(case))
    best = worth_of(case, plan)
    assert drawn(case, plan, best, end_micro=best.value_micro - 1, draw=LAST) is not None
    assert drawn(case, plan, best, end_micro=10 * best.value_micro, draw=LAST) is None
