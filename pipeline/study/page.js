"use strict";
// The walk through a translation. The chosen place is a sentence, a member, and a target step.
const sentences = JSON.parse(document.getElementById("walks").textContent);
const $ = (id) => document.getElementById(id);
const boxes = { source: $("source"), target: $("target") };
let sentence, walk, step;

function shown(piece) {
  return piece === "</s>" ? "end" : piece.replaceAll("\u2581", "\u00b7");
}

function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Text of one language, in its own direction.
function textOf(tag, lang, text) {
  return made(tag, { className: "text", dir: "auto", lang, textContent: text || "(nothing)" });
}

// A vector is drawn as a strip: a cell for each number, blue above 0, orange below.
function numbersOf(vector) {
  return Int8Array.from(atob(vector.numbers), (sign) => sign.charCodeAt(0));
}

function strip(vector, label) {
  const numbers = numbersOf(vector);
  const canvas = made("canvas", { width: numbers.length, height: 1 });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${label}: ${numbers.length} numbers of up to ${(127 * vector.scale).toFixed(2)} in size`);
  const style = getComputedStyle(document.documentElement), context = canvas.getContext("2d");
  numbers.forEach((number, place) => {
    const colour = style.getPropertyValue(number > 0 ? "--plus" : "--minus");
    context.fillStyle = `rgb(${colour} / ${Math.abs(number) / 127})`;
    context.fillRect(place, 0, 1, 1);
  });
  return canvas;
}

function bar(share, text) {
  const element = made("div", { className: "bar" }, made("span", { textContent: text }));
  element.style.setProperty("--share", share);
  return element;
}

function percent(share) {
  return share < 0.0005 ? "0%" : `${(100 * share).toFixed(1)}%`;
}

function chooseSentence(number) {
  sentence = sentences[number];
  $("reference").textContent = sentence.reference;
  fill(boxes.source, sentence.pieces);
  drawMaps();
  $("deleted").replaceChildren(...sentence.deleted.map(([word, text]) =>
    made("tr", {}, textOf("td", boxes.source.lang, word), textOf("td", boxes.target.lang, text))));
  $("missing").hidden = sentence.deleted.length === 0;
  chooseMember(document.querySelector("input[name=member]:checked").value);
}

function chooseMember(name) {
  walk = sentence.walks.find((each) => each.member === name);
  $("translation").textContent = walk.translation || "(nothing)";
  fill(boxes.target, walk.steps.map((each) => each.piece));
  $("step").max = walk.steps.length - 1;
  chooseStep(Math.min(Number($("step").value), walk.steps.length - 1));
}

function chooseStep(number) {
  step = number;
  $("step").value = number;
  const { piece } = walk.steps[number];
  $("step-told").textContent = `${number + 1} of ${walk.steps.length}: ${shown(piece)}`;
  $("step").setAttribute("aria-valuetext", $("step-told").textContent);
  drawInside(walk.steps[number]);
  light("target", number);
}

function fill(box, pieces) {
  box.replaceChildren(...pieces.map((piece, place) =>
    made("button", { type: "button", tabIndex: place ? -1 : 0 }, made("span", { textContent: shown(piece) }), made("small"))));
}

// Colour the pieces of the other side by the attention that joins them to the piece at `place`.
function light(side, place) {
  const other = side === "target" ? "source" : "target";
  const attends = walk.keys.length > 1;
  for (const box of Object.values(boxes)) {
    for (const button of box.children) {
      button.classList.remove("here");
      button.style.setProperty("--weight", 0);
      button.lastChild.textContent = "";
    }
  }
  boxes[side].children[place].classList.add("here");
  if (!attends) return;
  [...boxes[other].children].forEach((button, index) => {
    const weight = side === "target" ? walk.steps[place].weights[index] : walk.steps[index].weights[place];
    button.style.setProperty("--weight", weight);
    button.lastChild.textContent = weight < 0.005 ? "" : `${Math.round(100 * weight)}%`;
  });
}

function drawInside(found) {
  const attends = walk.keys.length > 1;
  const heads = ["", "key", "score", "weight", "value"].map((text) =>
    made("div", { className: text === "value" ? "head value" : "head", textContent: text }));
  const rows = walk.keys.flatMap((key, place) => {
    const name = attends ? shown(sentence.pieces[place]) : "whole sentence";
    const value = strip(walk.values[place], `value of ${name}`);
    value.classList.add("value");
    return [
      made("div", { textContent: name }),
      strip(key, `key of ${name}`),
      made("div", { className: "number score", textContent: found.scores[place].toFixed(2) }),
      bar(found.weights[place], percent(found.weights[place])),
      value,
    ];
  });
  const wide = (name, vector) => {
    const canvas = strip(vector, name);
    canvas.classList.add("wide");
    return [made("div", { textContent: name }), canvas];
  };
  $("inside").replaceChildren(
    ...wide("query", found.query), ...heads, ...rows, ...wide("context", found.context), ...wide("state", found.state));
  $("words").replaceChildren(...found.likeliest.flatMap(([piece, p]) =>
    [made("div", { className: "word", textContent: shown(piece) }), bar(p, percent(p))]));
  const second = found.likeliest.find(([piece]) => piece !== found.piece) || found.likeliest[1];
  $("second").textContent = `What if? With the second-best piece “${shown(second[0])}” here, the translation becomes: ${found.second || "(nothing)"}`;
}

// The attention of all members for the chosen sentence: a row for each target piece, a column for each source piece.
function drawMaps() {
  const colour = getComputedStyle(document.documentElement).getPropertyValue("--attention");
  $("maps").replaceChildren(...sentence.walks.map((each) => {
    const rows = each.steps.length, columns = each.keys.length;
    const canvas = made("canvas", { width: columns, height: rows });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `attention of ${each.member}: ${rows} target pieces by ${columns} source pieces`);
    canvas.style.setProperty("--rows", rows);
    canvas.style.setProperty("--columns", Math.max(columns, rows / 2));
    const context = canvas.getContext("2d");
    each.steps.forEach(({ weights }, row) => weights.forEach((weight, column) => {
      context.fillStyle = `rgb(${colour} / ${weight})`;
      context.fillRect(column, row, 1, 1);
    }));
    return made("div", {}, made("h4", { textContent: each.member }), canvas, textOf("p", boxes.target.lang, each.translation));
  }));
}

$("sentence").addEventListener("change", (event) => chooseSentence(Number(event.target.value)));
$("members").addEventListener("change", (event) => chooseMember(event.target.value));
$("step").addEventListener("input", (event) => chooseStep(Number(event.target.value)));
for (const [side, box] of Object.entries(boxes)) {
  const placeOf = (event) => [...box.children].indexOf(event.target.closest("button"));
  box.addEventListener("pointerover", (event) => { if (placeOf(event) >= 0) light(side, placeOf(event)); });
  box.addEventListener("pointerleave", () => light("target", step));
  box.addEventListener("focusin", (event) => {
    [...box.children].forEach((button, place) => { button.tabIndex = place === placeOf(event) ? 0 : -1; });
    light(side, placeOf(event));
  });
  box.addEventListener("focusout", () => light("target", step));
  box.addEventListener("click", (event) => { if (side === "target" && placeOf(event) >= 0) chooseStep(placeOf(event)); });
  box.addEventListener("keydown", (event) => {
    const forward = getComputedStyle(box).direction === "rtl" ? -1 : 1;
    const move = { ArrowLeft: -forward, ArrowRight: forward }[event.key];
    if (!move) return;
    const next = box.children[placeOf(event) + move];
    if (next) next.focus();
    event.preventDefault();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chooseSentence(Number($("sentence").value)));
if (sentences.length) chooseSentence(0);
