"""Fraudsters in crews: stolen cards, card testing and taken-over accounts, each in episodes of several attempts."""

import numpy as np

from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.simulation.banks import Banks
from greenlane.simulation.crowd import DISPOSABLE, ROW, Crowd, ids, minor, times
from greenlane.simulation.parameters import TYPOLOGIES, Parameters, Scheme
from greenlane.simulation.people import People, addresses
from greenlane.simulation.randomness import Draws, Indexes, Reals


class Fraudsters:
    """Where they go depends on where they passed lately: `stopped` is the share of fraud stopped, by merchant."""

    def __init__(self, world: Parameters, banks: Banks, people: People, *, seed: int, stopped: Reals | None = None):
        self._world, self._fraud, self._banks, self._people, self._seed = world, world.fraud, banks, people, seed
        self._stopped = np.zeros(len(world.merchants)) if stopped is None else stopped

    def payments(self, day: int) -> Crowd:
        """All fraudulent attempts of one UTC day, unsorted; an episode may have begun the day before."""
        begun = [self._episodes(kind, on) for kind in range(len(TYPOLOGIES)) for on in (day - 1, day)]
        crowd = np.concatenate(begun)
        today: Crowd = crowd[crowd["at_us"] // DAY_US == day]
        return today

    def _episodes(self, kind: int, day: int) -> Crowd:
        scheme = self._world.fraud.schemes[kind]
        today = Draws(self._seed, TYPOLOGIES[kind], day)
        episodes = today.of(np.arange(int(today.poisson("episodes", scheme.episodes_per_day)[0])))
        attempts = 1 + np.minimum((scheme.attempts_mean - 1) * episodes.exponential("attempts"), 300).astype(np.int64)
        which = np.repeat(np.arange(len(attempts)), attempts)
        ordinal = np.arange(len(which)) - np.repeat(np.cumsum(attempts) - attempts, attempts)
        episode, attempt = episodes[which], episodes[which].of("attempt", ordinal)
        crowd = np.zeros(len(which), ROW)
        crowd["typology"] = kind
        crowd["luck"] = attempt.keys
        self._when(crowd, scheme, episodes, which=which, ordinal=ordinal, day=day)
        fill = (
            self._with_stolen_card, self._with_many_cards, self._with_the_victims_card, self._with_many_cards,
            self._with_many_stolen_cards,
        )[kind]  # fmt: skip
        fill(crowd, scheme, episode, attempt, day=day)
        return crowd

    def _when(
        self, crowd: Crowd, scheme: Scheme, episodes: Draws, *, which: Indexes, ordinal: Indexes, day: int
    ) -> None:
        """Attempts follow each other from the beginning of the episode, which stands in `created_us` for a moment."""
        hour = (self._fraud.hour_mean + self._fraud.hour_sd * episodes.normal("hour")) % 24
        gap = episodes[which].of("attempt", ordinal).exponential("gap") * scheme.gap_minutes
        elapsed = np.cumsum(gap)
        since = elapsed - elapsed[np.flatnonzero(ordinal == 0)][which]
        crowd["created_us"] = times(day * DAY_US, hour[which] * HOUR_US)
        crowd["at_us"] = times(crowd["created_us"], since * MINUTE_US)
        crowd["night"] = crowd["at_us"] % DAY_US < DAY_US // 4

    def _with_stolen_card(self, crowd: Crowd, scheme: Scheme, episode: Draws, attempt: Draws, *, day: int) -> None:
        country = episode.choice("country", [c.stolen_share for c in self._world.countries])
        self._stolen(crowd, episode, country)
        self._new_account(crowd, scheme, episode, country)
        self._shop(crowd, episode, self._attractive())
        self._amount(crowd, scheme, attempt)
        self._from_where(crowd, scheme, episode, country, day=day)

    def _with_many_stolen_cards(
        self, crowd: Crowd, scheme: Scheme, episode: Draws, attempt: Draws, *, day: int
    ) -> None:
        """Honest buyers' orders, each to its own address and paid with another stolen card."""
        self._with_stolen_card(crowd, scheme, episode, attempt, day=day)
        self._stolen(crowd, attempt, episode.choice("country", [c.stolen_share for c in self._world.countries]))
        crowd["shipping"] = ids(attempt.of("recipient"))

    def _with_many_cards(self, crowd: Crowd, scheme: Scheme, episode: Draws, attempt: Draws, *, day: int) -> None:
        """Cards of one range, one after another, at one shop where amounts are low."""
        country = episode.choice("country", [c.stolen_share for c in self._world.countries])
        self._stolen(crowd, attempt, country)
        crowd["card_range"] = np.where(
            attempt.chance("same range", scheme.same_range),
            self._banks.range_of(episode, country),
            crowd["card_range"],
        )
        self._new_account(crowd, scheme, episode, country)
        cheap = np.array([(m.kind == "digital") + 0.1 for m in self._world.merchants])
        self._shop(crowd, episode, cheap * self._welcome())
        self._amount(crowd, scheme, attempt)
        self._from_where(crowd, scheme, episode, country, day=day)
        hopping = attempt.chance("hop", self._fraud.hop)
        crowd["address"] = np.where(hopping, addresses(attempt), crowd["address"])

    def _with_the_victims_card(self, crowd: Crowd, scheme: Scheme, episode: Draws, attempt: Draws, *, day: int) -> None:
        people = self._people
        known = people.joined_before(day - 30)
        victim = known[episode.integer("victim", len(known))]
        people.instrument(crowd, victim, episode.of("instrument"), day=day)
        habit = episode.choice("habit", people.favourites[victim])
        wanted = episode.choice("wanted", self._attractive())
        crowd["merchant"] = np.where(episode.chance("like the victim", self._fraud.like_the_victim), habit, wanted)
        self._amount(crowd, scheme, attempt, usual=people.amount_log[victim])
        moved = episode.chance("moved", self._fraud.moved)
        crowd["shipping"] = np.where(moved, self._drop(episode), crowd["shipping"])
        self._from_where(crowd, scheme, episode, people.country[victim], day=day)

    def _attractive(self) -> Reals:
        wanted: Reals = np.array([m.share * m.fraud_weight for m in self._world.merchants]) * self._welcome()
        return wanted

    def _welcome(self) -> Reals:
        return np.exp(-self._fraud.adaptation * 3.0 * self._stopped)

    def _shop(self, crowd: Crowd, episode: Draws, weights: Reals) -> None:
        crowd["merchant"] = episode.choice("merchant", weights)

    def _stolen(self, crowd: Crowd, holder: Draws, country: Indexes) -> None:
        card = holder.of("stolen card")
        crowd["card"] = ids(card)
        crowd["card_range"] = self._banks.range_of(card, country)
        crowd["billing"] = country
        crowd["payday"] = card.choice("payday", list(self._world.payers.paydays.values()))

    def _new_account(self, crowd: Crowd, scheme: Scheme, episode: Draws, country: Indexes) -> None:
        crowd["account"] = ids(episode.of("account"))
        days = np.where(episode.chance("aged", scheme.aged_account), self._fraud.aged_days, self._fraud.fresh_days)
        crowd["created_us"] = times(crowd["created_us"], -days * episode.exponential("age") * DAY_US)
        ordinary = episode.choice("mail", self._world.payers.mail)
        crowd["mail_domain"] = np.where(episode.chance("drop", scheme.disposable_mail), DISPOSABLE, ordinary)
        elsewhere = episode.integer("claimed", len(self._world.countries))
        claims = episode.chance("claims another country", self._fraud.claims_another_country)
        crowd["billing"] = np.where(claims, elsewhere, country)
        to_crew = episode.chance("crew's drop", self._fraud.drop)
        crowd["shipping"] = np.where(to_crew, self._drop(episode), ids(episode.of("drop")))

    def _amount(self, crowd: Crowd, scheme: Scheme, attempt: Draws, *, usual: Reals | float = 0.0) -> None:
        median = np.array([m.amount_median_minor for m in self._world.merchants])[crowd["merchant"]]
        log = usual + scheme.amount_shift + scheme.amount_sigma * attempt.normal("amount")
        crowd["amount_minor"] = minor(median * np.exp(log))

    def _crew(self, episode: Draws) -> Indexes:
        return episode.integer("crew", self._world.fraud.crews)

    def _drop(self, episode: Draws) -> Indexes:
        drop = episode.integer("drop", self._world.fraud.crew_drops)
        return ids(Draws(self._seed, "drop", self._crew(episode), drop))

    def _from_where(self, crowd: Crowd, scheme: Scheme, episode: Draws, country: Indexes, *, day: int) -> None:
        """A device of the crew or a fresh one; an address that looks like home, or the crew's own network."""
        fraud, crew = self._fraud, self._crew(episode)
        shared = ids(Draws(self._seed, "crew device", crew, day // fraud.crew_device_days))
        own = episode.chance("crew's device", scheme.crew_device)
        crowd["device"] = np.where(own, shared, ids(episode.of("device")))
        at_home = episode.chance("like home", scheme.own_country)
        network = Draws(self._seed, "crew", crew)
        host = network.integer("network", 2**24) // 256 * 256 + episode.integer("host", fraud.crew_addresses)
        cell = episode.integer("cell", self._world.payers.mobile_addresses)
        crowd["address"] = np.where(at_home, addresses(Draws(self._world.seed, "mobile", country, cell)), host)
        base = network.integer("base", len(self._world.countries))
        crowd["address_country"] = np.where(at_home, country, base)
        crowd["proxy"] = episode.chance("proxy", scheme.proxy)
