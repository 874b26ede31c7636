"""How good payers of an issuer fare in 3-D Secure: who passes without a challenge, and who passes one when asked.

A table rather than a model: the issuer's own policy decides, and hundreds of answers an issuer say what it is. It is
learned in `learning/authentication_set.py`. Fraudsters' shares are never learned: they follow by the stated ratios.
"""

from typing import Final

from msgspec import Struct

from greenlane.policy.priors import GoodPayer, Payer, Priors

UNAVAILABLE_PPM: Final = Priors().unavailable_ppm


class AuthenticationTable(Struct, frozen=True, kw_only=True):
    """Learned shares in ppm; what is not there is the prior.

    >>> table = AuthenticationTable(countries={"FR": GoodPayer(400_000, 880_000)})
    >>> table.payer("bnp", "FR"), table.payer("ing", "NL")
    (Payer(frictionless_ppm=400000, success_ppm=880000, unavailable_ppm=15000), None)
    """

    countries: dict[str, GoodPayer] = {}
    issuers: dict[str, GoodPayer] = {}
    unavailable_ppm: int = UNAVAILABLE_PPM

    def payer(self, issuer: str, country: str) -> Payer | None:
        """What is believed of a good payer of this issuer; None where nothing was learned."""
        good = self.issuers.get(issuer) or self.countries.get(country)
        return None if good is None else Payer(*good, self.unavailable_ppm)


UNLEARNED: Final = AuthenticationTable()
