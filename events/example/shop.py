"""The example's world: products with a category, a price and a style, and customers with tastes.

Everything is drawn from one random generator, so a seed is a shop. What is made up, and why it is there:

===================  ===============================================================================================
categories           customers like few of them; some go with others, as filters go with coffee
styles               products and customers lie in a small space; a customer prefers the products that are near
prices               lognormal around their category's, and each customer has a level of their own
popularity           a few products of a category get most of the attention; it drifts from week to week
launches             one product in twelve appears only after the log has begun
===================  ===============================================================================================
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STYLES = 4  # dimensions of the space of styles
NEIGHBOURS = 12  # most similar products that a shop would show beside one
LAUNCHED_LATE = 1 / 12  # share of the products that appear only after the log has begun


class Category(NamedTuple):
    """A shelf of the shop."""

    name: str
    price: float  # median
    demand: float  # relative share of the visits
    consumed: bool = False  # bought again when used up
    goes_with: tuple[str, ...] = ()  # what people look at next once they have bought


CATEGORIES = (
    Category("coffee.beans", 14, 3, True, ("coffee.filters", "coffee.grinders")),
    Category("coffee.filters", 6, 1, True, ("coffee.beans",)),
    Category("coffee.grinders", 90, 1, False, ("coffee.beans", "coffee.machines")),
    Category("coffee.machines", 320, 1.5, False, ("coffee.beans", "coffee.grinders", "coffee.care")),
    Category("coffee.care", 12, 0.5, True, ("coffee.beans",)),
    Category("tea.leaves", 9, 2, True, ("tea.pots",)),
    Category("tea.pots", 35, 1, False, ("tea.leaves", "kitchen.cups")),
    Category("kitchen.cups", 16, 2, False, ("tea.leaves", "coffee.beans")),
    Category("kitchen.pans", 55, 2, False, ("kitchen.knives", "kitchen.care")),
    Category("kitchen.knives", 70, 1.5, False, ("kitchen.care", "kitchen.boards")),
    Category("kitchen.boards", 30, 1, False, ("kitchen.knives",)),
    Category("kitchen.care", 11, 1, True, ("kitchen.pans",)),
    Category("garden.seeds", 4, 2, True, ("garden.soil", "garden.pots")),
    Category("garden.soil", 13, 1, True, ("garden.pots",)),
    Category("garden.pots", 18, 1.5, False, ("garden.soil", "garden.seeds")),
    Category("garden.tools", 28, 1, False, ("garden.seeds",)),
    Category("pets.dog-food", 32, 2, True, ("pets.dog-toys",)),
    Category("pets.dog-toys", 12, 1, False, ("pets.dog-food",)),
    Category("pets.cat-food", 24, 2, True, ("pets.cat-litter",)),
    Category("pets.cat-litter", 15, 1, True, ("pets.cat-food",)),
    Category("paper.notebooks", 8, 2, True, ("paper.pens",)),
    Category("paper.pens", 7, 1.5, True, ("paper.notebooks",)),
    Category("bath.towels", 22, 1.5, False, ("bath.soap",)),
    Category("bath.soap", 6, 1.5, True, ("bath.towels",)),
)
INDEX = {category.name: at for at, category in enumerate(CATEGORIES)}
DEMAND = np.array([category.demand for category in CATEGORIES])


@dataclass(frozen=True)
class Products:
    """All that is sold, a row a product."""

    ids: list[str]  # six digits or more, a tenth of them with a leading zero
    category: Ints  # (P,) row of CATEGORIES
    price: Floats  # (P,)
    style: Floats  # (P, STYLES)
    popularity: Floats  # (days, P) relative; next to nothing before a product's launch

    @cached_property
    def of_category(self) -> list[Ints]:
        """Return the products of each category."""
        return [np.flatnonzero(self.category == at) for at in range(len(CATEGORIES))]

    @cached_property
    def similar(self) -> list[Ints]:
        """Return the most similar products of the same category, nearest first, for each product."""
        point = np.column_stack([self.style, np.log(self.price)])
        found: list[Ints] = []
        for product, category in enumerate(self.category):
            others = self.of_category[category]
            others = others[others != product]
            distance = np.linalg.norm(point[others] - point[product], axis=1)
            found.append(others[np.argsort(distance, kind="stable")[:NEIGHBOURS]])
        return found


@dataclass(frozen=True)
class Customers:
    """All who come, a row a customer; the last ones are guests, who come once."""

    ids: list[str]
    taste: Floats  # (U, categories), rows sum to 1
    style: Floats  # (U, STYLES)
    level: Floats  # (U,) of prices: 0 is the median, log scale
    activity: Floats  # (U,) relative frequency of sessions; 0 for guests
    hour: Floats  # (U,) of the day at which they like to come

    def __len__(self) -> int:
        return len(self.ids)


def draw_products(count: int, days: int, rng: np.random.Generator) -> Products:
    """Return ``count`` products, at least one a category where there are enough."""
    category = np.sort(np.arange(count) % len(CATEGORIES))
    median = np.array([one.price for one in CATEGORIES])[category]
    price = np.maximum(0.5, median * np.exp(rng.normal(0, 0.45, count)))
    return Products(
        ids=distinct_numbers(count, 6, rng),
        category=category,
        price=np.round(np.ceil(price * 10) / 10 - 0.01, 2),  # 13.99, 14.09, ...
        style=rng.normal(0, 1, (count, STYLES)),
        popularity=_popularity(count, days, rng),
    )


def _popularity(count: int, days: int, rng: np.random.Generator) -> Floats:
    """Return each product's popularity by day ``(days, count)``: a level, a drift by week, promotions, launches."""
    weeks = rng.normal(0, 0.35, (days // 7 + 1, count)).cumsum(axis=0)
    popularity: Floats = np.exp(rng.normal(0, 1, count) + weeks[np.arange(days) // 7])
    for product in np.flatnonzero(rng.random(count) < 0.03):  # a promotion of four days
        begins = int(rng.integers(days))
        popularity[begins : begins + 4, product] *= 6
    for product in np.flatnonzero(rng.random(count) < LAUNCHED_LATE):
        popularity[: int(rng.integers(days)), product] *= 1e-9
    return popularity


def draw_customers(count: int, guests: int, rng: np.random.Generator) -> Customers:
    """Return ``count`` customers, the last ``guests`` of whom come once."""
    taste = rng.gamma(0.15, size=(count, len(CATEGORIES))) * DEMAND + 1e-4 * DEMAND
    activity = rng.gamma(0.8, size=count)
    activity[count - guests :] = 0
    accounts = distinct_numbers(count - guests, 5, rng)
    cookies = [f"guest-{number}" for number in distinct_numbers(guests, 7, rng)]
    return Customers(
        ids=accounts + cookies,
        taste=taste / taste.sum(axis=1, keepdims=True),
        style=rng.normal(0, 1, (count, STYLES)),
        level=rng.normal(0, 0.5, count),
        activity=activity,
        hour=np.where(rng.random(count) < 0.3, rng.normal(11, 2, count), rng.normal(19, 2, count)) % 24,
    )


def distinct_numbers(count: int, digits: int, rng: np.random.Generator) -> list[str]:
    """Return different numbers as texts of so many digits, or more where those don't suffice, zeros in front."""
    digits = max(digits, len(str(10 * count)))
    numbers = set[int]()
    while len(numbers) < count:
        numbers.add(int(rng.integers(10**digits)))
    drawn = np.array(sorted(numbers), np.int64)
    return [f"{number:0{digits}d}" for number in rng.permutation(drawn).tolist()]
