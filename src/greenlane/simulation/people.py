"""Honest payers and their habits: where they buy, for how much, when, with which card, from which device and place."""

import numpy as np

from greenlane.payments.times import DAY_US, HOUR_US, MINUTE_US
from greenlane.simulation.banks import Banks
from greenlane.simulation.crowd import GOOD, ROW, Crowd, ids, minor, times
from greenlane.simulation.parameters import Parameters
from greenlane.simulation.randomness import Draws, Indexes, Reals

SPLURGE = 3.0
ON_FILE_DAYS = 40
"""A stored card was looked at last so many days ago at most."""
CHAINED = 0.9
"""Contracts whose first payment's network transaction id is known."""
FAR = 10**6
"""Days added so that lives of cards and devices are never counted across zero."""


class People:
    """Everybody who may ever pay honestly in one run, as columns with one row per payer."""

    def __init__(self, world: Parameters, banks: Banks, *, seed: int, start_us: int):
        self._world, self._banks, self._habits = world, banks, world.payers
        count = world.payers.count
        self.draws = Draws(seed, "payer", np.arange(count))
        self.country = self.draws.choice("country", [c.share for c in world.countries])
        self.account = ids(self.draws.of("account"))
        abroad = self.draws.chance("bank abroad", world.payers.bank_abroad)
        elsewhere = self.draws.choice("bank in", [c.share for c in world.countries])
        self.bank_country = np.where(abroad, elsewhere, self.country)
        self.payday = self.draws.choice("payday", list(world.payers.paydays.values()))
        self.mail_domain = self.draws.choice("mail", world.payers.mail)
        span = world.payers.joined_before_days + world.payers.joined_after_days
        joined = self.draws.uniform("joined") * span - world.payers.joined_before_days
        self.created_us = times(start_us, joined * DAY_US)
        sigma = world.payers.payments_per_day_sigma
        self._rate = world.payers.payments_per_day * np.exp(sigma * self.draws.normal("rate") - sigma**2 / 2)
        self.amount_log = world.payers.amount_sigma * self.draws.normal("amount")
        self._hour = world.payers.hour_mean + world.payers.hour_sd_between * self.draws.normal("hour")
        self.favourites = self._draw_favourites()
        self._offset = np.array([c.utc_offset_hours for c in world.countries])

    def _draw_favourites(self) -> Reals:
        size = np.array([m.share for m in self._world.merchants])
        taste = np.column_stack([self.draws.of(i).normal("taste") for i in range(len(size))])
        liked = size * np.exp(self._habits.favourites_spread * taste)
        shares: Reals = liked / liked.sum(axis=1, keepdims=True)
        return shares

    def joined_before(self, day: int) -> Indexes:
        """Payers whose account is older than the day."""
        return np.flatnonzero(self.created_us < day * DAY_US)

    def payments(self, day: int) -> Crowd:
        """All honest payments of one UTC day, unsorted. Some sessions end in two payments."""
        count = self.draws.of(day).poisson("count", self._rate)
        payer = np.repeat(np.arange(len(count)), count)
        ordinal = np.arange(len(payer)) - np.repeat(np.cumsum(count) - count, count)
        session = self.draws[payer].of(day, ordinal)
        rows = np.repeat(np.arange(len(payer)), 1 + session.chance("again", self._habits.again))
        again = np.diff(rows, prepend=-1) == 0
        payer, session = payer[rows], session[rows]
        pay = session.of(again.astype(np.int64))
        crowd = np.zeros(len(rows), ROW)
        crowd["typology"] = GOOD
        crowd["luck"] = pay.keys
        self._when(crowd, payer, session, later=np.where(again, pay.exponential("later"), 0.0), day=day)
        self._where(crowd, payer, session)
        self._how_much(crowd, payer, pay)
        self.instrument(crowd, payer, session, day=day)
        self._device(crowd, payer, session, day=day)
        self._place(crowd, payer, session, day=day)
        self._visitors(crowd, payer, session)
        joined: Crowd = crowd[crowd["at_us"] >= crowd["created_us"]]
        return joined

    def renewals(self, day: int) -> Crowd:
        """What subscriptions charge on one UTC day, in the small hours, to the card that is on file."""
        due = [self._renewals(i, day) for i, m in enumerate(self._world.merchants) if m.subscribers > 0]
        crowd: Crowd = np.concatenate(due) if due else np.zeros(0, ROW)
        return crowd

    def _renewals(self, merchant: int, day: int) -> Crowd:
        shop = self._world.merchants[merchant]
        contract = self.draws.of("contract", merchant)
        turn = (day + contract.integer("turn", shop.period_days)) % shop.period_days == 0
        begun = self.created_us < (day - shop.period_days) * DAY_US
        payer = np.flatnonzero(contract.chance("subscribed", shop.subscribers) & turn & begun)
        charge, contract = contract[payer].of(day), contract[payer]
        crowd = np.zeros(len(payer), ROW)
        crowd["typology"], crowd["luck"], crowd["merchant"] = GOOD, charge.keys, merchant
        crowd["at_us"] = times(day * DAY_US, (2 + 6 * charge.uniform("hour")) * HOUR_US)
        plan = np.exp(shop.amount_sigma * np.round(2 * contract.normal("plan")) / 2)
        crowd["amount_minor"] = minor(shop.amount_median_minor * plan)
        on_file = day - contract.integer("card on file", ON_FILE_DAYS)
        self.instrument(crowd, payer, contract.of("card"), day=on_file)
        old, new = crowd["card"].copy(), crowd.copy()
        self.instrument(new, payer, contract.of("card"), day=day)
        crowd["expired"] = old != new["card"]
        crowd["renewed"] = Draws(self._world.seed, "renewed", old).chance("updater", self._world.payers.updater)
        crowd["absent"] = True
        crowd["chained"] = contract.chance("chained", CHAINED)
        return crowd

    def _when(self, crowd: Crowd, payer: Indexes, session: Draws, *, later: Reals, day: int) -> None:
        local = self._hour[payer] + self._habits.hour_sd_within * session.normal("hour")
        utc = (local - self._offset[self.country[payer]]) % 24
        at_us = times(day * DAY_US, utc * HOUR_US + later * self._habits.again_minutes * MINUTE_US)
        crowd["at_us"] = np.minimum(at_us, (day + 1) * DAY_US - 1)
        crowd["night"] = local % 24 < 6

    def _where(self, crowd: Crowd, payer: Indexes, session: Draws) -> None:
        by_size = session.choice("by size", [m.share for m in self._world.merchants])
        by_habit = session.choice("by habit", self.favourites[payer])
        crowd["merchant"] = np.where(session.chance("elsewhere", self._habits.elsewhere), by_size, by_habit)

    def _how_much(self, crowd: Crowd, payer: Indexes, pay: Draws) -> None:
        shops = self._world.merchants
        median = np.array([m.amount_median_minor for m in shops])[crowd["merchant"]]
        sigma = np.array([m.amount_sigma for m in shops])[crowd["merchant"]]
        factor = np.exp(self.amount_log[payer] + sigma * pay.normal("amount"))
        factor *= np.where(pay.chance("splurge", self._habits.splurge), SPLURGE, 1.0)
        crowd["amount_minor"] = minor(median * factor)

    def instrument(self, crowd: Crowd, payer: Indexes, pay: Draws, *, day: int | Indexes) -> None:
        """The payer's account and one of their cards: also what a thief of the account uses."""
        owner = self.draws[payer]
        second = owner.chance("second card", self._habits.second_card)
        slot = second & pay.chance("use second card", self._habits.second_card_share)
        life = (day + FAR + owner.integer("card age", self._habits.card_life_days)) // self._habits.card_life_days
        card = owner.of("card", slot.astype(np.int64), life)
        crowd["account"] = self.account[payer]
        crowd["created_us"] = self.created_us[payer]
        crowd["mail_domain"] = self.mail_domain[payer]
        crowd["billing"] = self.country[payer]
        crowd["card"] = ids(card)
        crowd["card_range"] = self._banks.range_of(owner.of("bank", slot.astype(np.int64)), self.bank_country[payer])
        crowd["token"] = card.chance("token", self._habits.token)
        crowd["suspended"] = card.chance("suspended", self._habits.token_suspended)
        crowd["payday"] = self.payday[payer]
        other = pay.chance("gift", self._habits.gift)
        crowd["shipping"] = np.where(other, ids(pay.of("gift")), ids(owner.of("home")))

    def _device(self, crowd: Crowd, payer: Indexes, pay: Draws, *, day: int) -> None:
        owner = self.draws[payer]
        which = pay.chance("second device", self._habits.second_device_share * owner.uniform("second device")).astype(
            np.int64
        )
        life = (day + FAR + owner.integer("device age", self._habits.device_life_days)) // self._habits.device_life_days
        own = ids(owner.of("device", which, life))
        crowd["device"] = np.where(pay.chance("one-off", self._habits.device_one_off), ids(pay.of("device")), own)

    def _place(self, crowd: Crowd, payer: Indexes, pay: Draws, *, day: int) -> None:
        owner, habits = self.draws[payer], self._habits
        week = owner.of("week", day // 7)
        abroad, proxy = week.chance("abroad", habits.abroad_week), pay.chance("proxy", habits.proxy)
        elsewhere = np.where(
            proxy, pay.integer("exit", len(self._world.countries)), week.integer("to", len(self._world.countries))
        )
        country = np.where(abroad | proxy, elsewhere, self.country[payer])
        home = addresses(owner.of("address", (day + FAR) // habits.address_life_days))
        cell = pay.integer("cell", habits.mobile_addresses)
        shared = addresses(Draws(self._world.seed, "mobile", country, cell))
        crowd["address"] = np.where(pay.chance("mobile", habits.mobile) | abroad | proxy, shared, home)
        crowd["address_country"] = country
        crowd["proxy"] = proxy

    def _visitors(self, crowd: Crowd, payer: Indexes, pay: Draws) -> None:
        """People who come once: all about them is new, as it is with a thief."""
        once = np.flatnonzero(pay.chance("visitor", self._habits.visitor))
        guest = pay[once].of("visitor")
        age = guest.exponential("age") * self._habits.visitor_account_days
        for column in ("account", "card", "device", "shipping"):
            crowd[column][once] = ids(guest.of(column))
        crowd["created_us"][once] = times(crowd["at_us"][once], -age * DAY_US)
        crowd["mail_domain"][once] = guest.choice("mail", self._habits.mail)
        crowd["card_range"][once] = self._banks.range_of(guest, self.bank_country[payer[once]])
        at_home = ~guest.chance("mobile", self._habits.mobile) & ~crowd["proxy"][once]
        crowd["address"][once] = np.where(at_home, addresses(guest), crowd["address"][once])


def addresses(draws: Draws) -> Indexes:
    """Three bytes: the rest of a private 10.x.y.z."""
    return draws.integer("address", 2**24)
