// What became of an order: who stayed, who came, who left. Ids are compared by their text.

export function moves(before, after) {
  const was = new Map(before.map((id, at) => [String(id), at]));
  const is = new Map(after.map((id, at) => [String(id), at]));
  return {
    kept: [...is].filter(([id]) => was.has(id)).map(([id, to]) => ({ id, from: was.get(id), to })),
    entered: [...is.keys()].filter(id => !was.has(id)),
    left: [...was.keys()].filter(id => !is.has(id)),
  };
}

export function sameOrder(one, other) {
  return one.length === other.length && one.every((id, at) => String(id) === String(other[at]));
}

// Where an item of one order stands in another one: 1 is first, null: nowhere.
export function rankIn(order, id) {
  const at = order.findIndex(one => String(one) === String(id));
  return at < 0 ? null : at + 1;
}
