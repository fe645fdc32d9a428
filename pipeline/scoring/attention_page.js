"use strict";
// A side is 0 for the source and 1 for the translation; a place is a side and the index of a piece.
const weights = JSON.parse(document.getElementById("weights").textContent); // of each target piece: one a source piece
const boxes = ["source", "translation"].map((name) => document.getElementById(name));
const pieces = boxes.map((box) => [...box.querySelectorAll("button")]);
const told = document.getElementById("told");
let chosen = [1, 0];

function weightBetween([side, index], other) {
  return side === 1 ? weights[index][other] : weights[other][index];
}

function percent(weight) {
  return `${Math.round(100 * weight)}%`;
}

// Isolated, so that the writing direction of a piece ends with it.
function quoted(button) {
  return `“\u2068${button.firstChild.textContent}\u2069”`;
}

function show(place) {
  const [side, index] = place;
  pieces.flat().forEach((button) => {
    button.classList.remove("here");
    button.style.removeProperty("--weight");
    button.lastChild.textContent = "";
  });
  pieces[side][index].classList.add("here");
  const others = pieces[1 - side].map((button, other) => ({ button, weight: weightBetween(place, other) }));
  for (const { button, weight } of others) {
    button.style.setProperty("--weight", weight);
    button.lastChild.textContent = weight < 0.005 ? "" : percent(weight);
  }
  tell(side, pieces[side][index], others);
}

function tell(side, button, others) {
  const most = others.filter(({ weight }) => weight >= 0.005).sort((a, b) => b.weight - a.weight).slice(0, 3);
  const list = most.map(({ button, weight }) => `${quoted(button)} ${percent(weight)}`).join(", ") || "no piece";
  told.textContent = side === 1
    ? `When it wrote ${quoted(button)}, the model looked most at ${list}.`
    : `The model looked at ${quoted(button)} most when it wrote ${list}.`;
}

// Tab reaches the chosen piece of each side, and the arrow keys go on from there.
function choose(place) {
  const [side, index] = place;
  pieces[side].forEach((button, other) => { button.tabIndex = other === index ? 0 : -1; });
  chosen = place;
  show(place);
}

boxes.forEach((box, side) => {
  const placeOf = (event) => [side, pieces[side].indexOf(event.target.closest("button"))];
  const onPiece = (act) => (event) => { if (event.target.closest("button")) act(placeOf(event)); };
  box.addEventListener("pointerover", onPiece(show));
  box.addEventListener("pointerleave", () => show(chosen));
  box.addEventListener("focusin", onPiece(choose));
  box.addEventListener("click", onPiece(([, index]) => pieces[side][index].focus())); // Safari does not focus it
  box.addEventListener("keydown", (event) => {
    const forward = getComputedStyle(box).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const next = pieces[side][placeOf(event)[1] + (event.key === forward ? 1 : -1)];
      if (next) next.focus();
      event.preventDefault();
    }
  });
});
choose([0, 0]);
choose([1, 0]);
