// The reasons of one item, in a dialog.

import { cause, proposedBy, rankWithout, score } from "./words.js";

export function showWhy(dialog, head, body, reasons, titleOf) {
  head.textContent = `Why is ${titleOf(reasons.item_id)} number ${reasons.rank} of ${reasons.candidates}?`;
  body.replaceChildren(proposal(reasons, titleOf), effects(reasons, titleOf), terms(reasons));
  if (!dialog.open) dialog.showModal();
}

export function showWait(dialog, head, body, title) {
  head.textContent = `Why is ${title} here?`;
  body.replaceChildren(line("ranking again without each action \u2026"));
  dialog.showModal();
}

export function line(text) {
  const made = document.createElement("p");
  made.textContent = text;
  return made;
}

function proposal(reasons, titleOf) {
  const because = reasons.because_of === null ? null : titleOf(reasons.because_of);
  if (!reasons.source) return line("Without a catalogue it is not told what proposed it.");
  return line(`Proposed by: ${proposedBy(reasons.source, because)}.`);
}

function effects(reasons, titleOf) {
  const rows = reasons.causes.map(one => [
    cause(one, one.item_id === null ? "" : titleOf(one.item_id)), score(one.score), rankWithout(one, reasons.rank),
  ]);
  const made = document.createElement("div");
  made.append(line("How the score differs by each thing that is known (effects need not add up):"));
  made.append(table(["known", "effect", ""], rows));
  if (reasons.left_out) made.append(line(`${reasons.left_out} older actions were not looked at one by one.`));
  return made;
}

function terms(reasons) {
  const rows = reasons.terms.map(({ head, probability, weight }) => [
    head, probability.toFixed(3), `\u00d7 ${weight}`, score(probability * weight),
  ]);
  const made = document.createElement("div");
  made.append(line(`The score, ${reasons.score.toFixed(3)}, is the sum of:`));
  made.append(table(["head", "predicted", "weight", "part"], rows));
  return made;
}

function table(head, rows) {
  const made = document.createElement("table");
  const add = (parent, cells, kind) => {
    const row = parent.insertRow();
    for (const text of cells) {
      const cell = document.createElement(kind);
      cell.textContent = text;
      row.append(cell);
    }
  };
  add(made.createTHead(), head, "th");
  const body = made.createTBody();
  for (const cells of rows) add(body, cells, "td");
  return made;
}
