"""What a payment puts at stake, in both perspectives."""

import pytest

from greenlane.merchants.economics import Economics, Fees
from greenlane.merchants.stakes import stakes


def test_the_loss_is_goods_fee_and_handling_and_never_the_sale_price():
    merchant = Economics(
        margin_ppm=400_000,
        unrecoverable_ppm=500_000,
        dispute_fee_minor=1_500,
        handling_minor=300,
        unrefunded_ppm=250_000,
    )
    money = stakes(merchant, 10_000, "merchant")
    assert money.loss == pytest.approx(0.5 * 0.6 * 10_000 + 1_500 + 300)
    assert money.unrefunded == 0.25


def test_a_dispute_takes_margin_and_goods_unless_its_cost_is_stated():
    merchant = Economics(dispute_ppm=10_000)
    assert stakes(merchant, 10_000, "merchant").dispute == pytest.approx(0.01 * (10_000 + 1_500 + 500))
    stated = Economics(dispute_ppm=10_000, dispute_cost_minor=700)
    assert stakes(stated, 10_000, "merchant").dispute == pytest.approx(7.0)


def test_without_a_payer_nobody_retries_and_the_contract_may_end():
    assert stakes(Economics(), 10_000, "merchant", payer_present=False).stop == pytest.approx(-0.1 * 6_000)
    assert stakes(Economics(), 10_000, "merchant").stop == pytest.approx(0.3 * 0.5 * 3_500 - 200)


def test_a_psp_earns_its_take_and_loses_by_insolvency_and_fines():
    money = stakes(Economics(), 10_000, "psp")
    assert money.margin == pytest.approx(0.029 * 10_000 + 30)
    assert money.loss == pytest.approx(0.005 * 10_000 + 800)
    assert (money.dispute, money.handling, money.unrefunded) == (0.0, 0.0, 0.0)


def test_friction_costs_a_psp_in_proportion_to_what_it_earns():
    money = stakes(Economics(margin_ppm=290_000), 10_000, "psp")
    assert money.false_decline == pytest.approx(80.0)
    assert stakes(Economics(margin_ppm=0), 10_000, "psp").false_decline == 800.0


def test_nothing_is_shifted_and_no_budget_priced_to_begin_with():
    money = stakes(Economics(), 10_000, "merchant")
    assert (money.shifted_already, money.report_price, money.review_price) == (0.0, 0.0, 0.0)


def test_fees_are_a_percentage_and_a_fixed_part():
    assert Fees(pct_ppm=14_000, fixed_minor=25).approved_minor(10_000) == 165.0
