"""What the example's customers do: sessions in order of time, each from the product they came for to others.

::

    a session   came for: what is used up | what was looked at last time | a taste, by the popularity of the day
                then    : similar products, back to compare, others of the shelf, another shelf
                on the way: cart, purchase; after a purchase what goes with it

The transitions and the tastes are what models of sessions and users can learn; the rest is random.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp
from typing import NamedTuple

import numpy as np

from rankstream.events.example.shop import (
    CATEGORIES,
    INDEX,
    Customers,
    Floats,
    Ints,
    Products,
    draw_customers,
    draw_products,
)

DAY_MS = 86_400_000
BEGINS_MS = 1_696_204_800_000  # 2 October 2023, a Monday; fixed, so that a seed is a file
MEAN_ROWS = 8  # of a session
USED_UP_MS = 6 * DAY_MS  # what is consumed is not bought again before
VIEW, CART, PURCHASE = range(3)
EVENT_TYPES = ("view", "cart", "purchase")
BUSY_DAYS = np.array([1.1, 1.0, 0.95, 0.95, 0.9, 1.1, 1.4])  # Monday first


@dataclass(frozen=True)
class ExampleConfig:
    """How much is written. One seed and these sizes make one log."""

    rows: int = 80_000
    customers: int = 1_500
    products: int = 1_000
    days: int = 42
    guests: float = 0.3  # share of the customers who come once, without an account
    duplicates: float = 0.004  # share of the rows that are copies of the row before, as exports have them
    unknown: float = 0.005  # share of the rows without a customer
    seed: int = 0

    def __post_init__(self) -> None:
        if self.customers < 1 or self.products < 1 or self.days < 1:
            raise ValueError("an example needs at least one customer, one product and one day")
        if self.rows < MEAN_ROWS * self.customers:
            raise ValueError(
                f"{self.rows:,} rows are too few for {self.customers:,} customers, whose sessions have {MEAN_ROWS} "
                f"rows on average; ask for {MEAN_ROWS * self.customers:,} rows or more, or for "
                f"{max(1, self.rows // MEAN_ROWS):,} customers or fewer"
            )


class Row(NamedTuple):
    """One thing that was done."""

    time_ms: int
    type: int  # index of EVENT_TYPES
    product: int
    customer: int  # -1: not known


@dataclass(frozen=True)
class ExampleLog:
    """A log as columns, oldest row first."""

    products: Products
    customers: Customers
    times_ms: Ints
    types: Ints  # index of EVENT_TYPES
    product: Ints
    customer: Ints  # -1: not known

    def __len__(self) -> int:
        return len(self.times_ms)


def example_log(config: ExampleConfig) -> ExampleLog:
    """Return the log of a shop that does not exist, with exactly ``config.rows`` rows."""
    rng = np.random.default_rng(config.seed)
    products = draw_products(config.products, config.days, rng)
    customers = draw_customers(config.customers, int(config.guests * config.customers), rng)
    copies = int(config.duplicates * config.rows)
    rows = np.array(list(_rows(Simulation(products, customers, rng), config.rows - copies, config.days)), np.int64)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    rows[rng.random(len(rows)) < config.unknown, 3] = -1
    counts = np.ones(len(rows), np.int64)
    counts[rng.choice(len(rows), copies, replace=False)] = 2
    return ExampleLog(products, customers, *np.repeat(rows, counts, axis=0).T)


def _rows(simulation: "Simulation", count: int, days: int) -> Iterator[Row]:
    """Yield exactly ``count`` rows, session by session in order of their beginnings."""
    rng, customers = simulation.rng, simulation.customers
    sessions = max(len(customers), count // MEAN_ROWS)
    regulars = rng.choice(len(customers), sessions - len(customers), p=customers.activity / customers.activity.sum())
    who = np.concatenate([np.arange(len(customers)), regulars])  # everybody comes once, those with an account again
    starts = _starts(customers.hour[who], days, rng)
    shares = rng.exponential(size=sessions)
    lengths = 1 + rng.multinomial(count - sessions, shares / shares.sum())
    for at in np.argsort(starts, kind="stable").tolist():
        yield from simulation.session(int(who[at]), int(starts[at]), int(lengths[at]))


def _starts(hour: Floats, days: int, rng: np.random.Generator) -> Ints:
    """Return when sessions begin, in ms: a day, busier at its week's end, near the hour that a customer likes."""
    busy = BUSY_DAYS[np.arange(days) % 7]
    day = rng.choice(days, len(hour), p=busy / busy.sum())
    hours = rng.normal(hour, 1.5) % 24
    return BEGINS_MS + day * DAY_MS + (hours * 3_600_000).astype(np.int64)


@dataclass
class Memory:
    """What a customer did in earlier sessions that leads to the next one."""

    looked_at: int | None = None  # the last product of the last session
    bought: dict[int, int] = field(default_factory=dict)  # product -> when, ms


class Simulation:
    """Simulates sessions, which have to be asked for in the order of time: customers remember the ones before."""

    def __init__(self, products: Products, customers: Customers, rng: np.random.Generator) -> None:
        self.products, self.customers, self.rng = products, customers, rng
        self._memories: dict[int, Memory] = {}
        self._goes_with = [[INDEX[name] for name in category.goes_with] for category in CATEGORIES]
        self._taste = customers.taste.cumsum(axis=1)
        self._median_price = np.log([category.price for category in CATEGORIES])[products.category]

    def session(self, customer: int, start_ms: int, length: int) -> list[Row]:
        """Return a session of so many rows."""
        memory, random = self._memories.setdefault(customer, Memory()), self.rng.random
        appeal = self._appeal(customer, start_ms)
        product, now_ms = self._begin(customer, memory, appeal, start_ms), start_ms
        rows: list[Row] = []
        seen: list[int] = []
        while len(rows) < length:
            rows.append(Row(now_ms, VIEW, product, customer))
            sold = False
            if random() < self._cart_rate(product, seen, memory, now_ms):
                rows.append(Row(now_ms + self._pause(0.3), CART, product, customer))
                sold = random() < 0.5
            if sold:
                rows.append(Row(rows[-1].time_ms + self._pause(2), PURCHASE, product, customer))
                memory.bought[product] = now_ms
            seen.append(product)
            now_ms = rows[-1].time_ms + self._pause(1)
            memory.looked_at = product
            product = self._next(customer, product, seen, appeal, sold)
        return rows[:length]

    def _cart_rate(self, product: int, seen: list[int], memory: Memory, now_ms: int) -> float:
        """Return how likely a product that is looked at goes into the cart."""
        if product in memory.bought:
            return 0.7 if self._used_up(product, memory, now_ms) else 0.0
        return 0.3 if product in seen else 0.07

    def _used_up(self, product: int, memory: Memory, now_ms: int) -> bool:
        consumed = CATEGORIES[self.products.category[product]].consumed
        return consumed and now_ms - memory.bought[product] > USED_UP_MS

    def _pause(self, scale: float) -> int:
        """Return the time to the next row in ms, half a minute at scale 1 in the median."""
        return 1000 * int(1 + scale * 30 * exp(0.9 * self.rng.standard_normal()))

    def _appeal(self, customer: int, now_ms: int) -> Floats:
        """Return how much each product draws a customer on a day, ``(P,)``."""
        products, customers = self.products, self.customers
        fit = 0.6 * products.style @ customers.style[customer]
        dear = np.log(products.price) - self._median_price - customers.level[customer]
        popularity: Floats = products.popularity[min((now_ms - BEGINS_MS) // DAY_MS, len(products.popularity) - 1)]
        appeal: Floats = popularity * np.exp(fit - 1.5 * dear**2)
        return appeal

    def _begin(self, customer: int, memory: Memory, appeal: Floats, now_ms: int) -> int:
        """Return the product that a session is for."""
        used_up = [product for product in memory.bought if self._used_up(product, memory, now_ms)]
        if used_up and self.rng.random() < 0.5:
            return used_up[int(self.rng.integers(len(used_up)))]
        if memory.looked_at is not None and memory.looked_at not in memory.bought and self.rng.random() < 0.25:
            return memory.looked_at
        return self._of_taste(customer, appeal)

    def _next(self, customer: int, product: int, seen: list[int], appeal: Floats, sold: bool) -> int:
        """Return the product that is looked at after this one."""
        category, draw = int(self.products.category[product]), self.rng.random()
        beside = self._goes_with[category]
        if draw < (0.6 if sold else 0.06):
            return self._one_of(self.products.of_category[beside[int(self.rng.integers(len(beside)))]], appeal)
        if draw < 0.18:
            return seen[int(self.rng.integers(len(seen)))]
        if draw < 0.70:
            similar = self.products.similar[product]
            return self._one_of(similar, appeal) if len(similar) else product
        if draw < 0.90:
            return self._one_of(self.products.of_category[category], appeal)
        return self._of_taste(customer, appeal)

    def _of_taste(self, customer: int, appeal: Floats) -> int:
        """Return a product of a category that the customer likes."""
        category = int(self._taste[customer].searchsorted(self.rng.random() * self._taste[customer, -1]))
        return self._one_of(self.products.of_category[category], appeal)

    def _one_of(self, products: Ints, appeal: Floats) -> int:
        """Draw one of these products by its appeal; of no products, one of all."""
        if not len(products):  # a shop too small for all its categories
            products = np.arange(len(appeal))
        weights = appeal[products].cumsum()
        return int(products[weights.searchsorted(self.rng.random() * weights[-1])])
