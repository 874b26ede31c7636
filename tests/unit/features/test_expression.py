import pytest

from greenlane.errors import FeatureError
from greenlane.features.expression import CHARACTERS_MAX, Step, parse


def words(expression: str) -> str:
    return " ".join(str(step.of or step.act) for step in parse(expression))


@pytest.mark.parametrize(
    ("expression", "postfix"),
    [
        ("1 + 2 * 3", "1.0 2.0 3.0 * +"),
        ("(1 + 2) * 3", "1.0 2.0 + 3.0 *"),
        ("8 - 4 - 2", "8.0 4.0 - 2.0 -"),
        ("8 / 4 / 2", "8.0 4.0 / 2.0 /"),
        ("-2 * 3", "2.0 negate 3.0 *"),
        ("2 - -3", "2.0 3.0 negate -"),
        ("1 + 1 >= 2", "1.0 1.0 + 2.0 >="),
        ("3 > 2 > 1", "3.0 2.0 > 1.0 >"),
        ("1.5e3", "1500.0"),
        ("amount_minor", "amount_minor"),
        ("count(a, 30d)", "a.count.30d"),
        ("count(a, 30d+8d)", "a.count.30d+8d"),
        ("sum(a.amount_minor,24h)", "a.sum_amount_minor.24h"),
        ("distinct(a.customer.id, 1h)", "a.distinct_customer.1h"),
        ("time_since(a, 1h)", "a.time_since.1h"),
        ("mean(a.amount_minor, 1h)", "a.sum_amount_minor.1h a.count.1h /"),
        ("rate(a, b, 1h)", "a.count.1h b.count.1h /"),
        ("never_seen(a)", "a.seen"),
        ("coalesce(count(a, 1h), 0)", "a.count.1h 0.0 coalesce"),
    ],
)
def test_expression_becomes_postfix(expression, postfix):
    got = " ".join("0.0" if step == Step("number", 0.0) else str(step.of or step.act) for step in parse(expression))
    assert got == postfix


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "(1", "1)", "1 2", "count(a)", "count(a, 30)", "count(30d, a)", "median(a.x, 1h)", "count(a, 1h, 2h)",
     "a = b", "x; y", "30d", "mean(a, )", "coalesce(1)", "Amount", "'text'", "1 ? 2"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(expression):
    with pytest.raises(FeatureError):
        parse(expression)


def test_error_says_where():
    with pytest.raises(FeatureError, match=r"no function 'median' at character 5"):
        parse("1 + median(a.x, 1h)")


def test_endless_expressions_are_refused():
    with pytest.raises(FeatureError, match="characters"):
        parse("1" * (CHARACTERS_MAX + 1))
    with pytest.raises(FeatureError, match="nested"):
        parse("(" * (CHARACTERS_MAX - 1) + "1")
    with pytest.raises(FeatureError, match="too large"):
        parse("9" * 400)
