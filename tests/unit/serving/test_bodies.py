"""What a wrong body is told."""

import pytest

from greenlane.errors import InputError
from greenlane.outcomes.happened import HAPPENED_DECODER, Happened
from greenlane.payments.attempt import ATTEMPT_DECODER, Attempt
from greenlane.serving.bodies import all_field_names, read


def refusal(body, decoder, kind):
    with pytest.raises(InputError) as refused:
        read(body, decoder, fields=all_field_names(kind))
    return refused.value.param, refused.value.hint


@pytest.mark.parametrize(
    ("said", "param", "hint"),
    [
        (b'"approval": {"amount": 5}', "$.approval.amount", "did you mean partial_amount?"),
        (b'"decline": {"q": "51"}', "$.decline.q", "leave it out; see /docs for the body"),
    ],
)
def test_a_field_that_does_not_exist_within_an_answer_is_named_with_what_may_be_meant(said, param, hint):
    body = b'{"source": "acquirer", "event_id": "1", ' + said + b"}"
    assert refusal(body, HAPPENED_DECODER, Happened) == (param, hint)


def test_metadata_is_offered_only_where_there_is_any():
    body = b'{"attempt_id": "a", "zzzzzz": 1}'
    assert refusal(body, ATTEMPT_DECODER, Attempt) == ("$.zzzzzz", "leave it out, or put it under metadata")


def test_a_value_that_is_near_to_none_is_told_no_other():
    body = b'{"attempt_id": "a", "mode": "x"}'
    assert refusal(body, ATTEMPT_DECODER, Attempt) == ("$.mode", "see /docs for the values of this field")
