// Recommendations: a column for each model, with what the columns share and what really came next marked.

import { learn, titleOf } from "./catalog.js"
import { button, find, make, named } from "./elements.js"
import { ask } from "./service.js"

const STEPS = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] }
const board = find("columns")
let columns = []  // {name, answer or null, places: item id -> place from 1, element, body}

/** Once. */
export function startColumns() {
  board.addEventListener("keydown", pressed)
  for (const kind of ["mouseover", "focusin"]) board.addEventListener(kind, event => pair(event.target.closest("li")))
  for (const kind of ["mouseleave", "focusout"]) board.addEventListener(kind, () => pair(null))
}

/** One column for each of the names; those that stay keep what they show. */
export function chooseColumns(names) {
  columns = names.map(name => columns.find(column => column.name === name) ?? emptyColumn(name))
  board.replaceChildren(...columns.map(column => column.element))
}

/** Ask all models at once; `pick(id)` on a click. Throws ServiceError, but what one model refuses stands in its column. */
export async function loadColumns(history, k, next, pick, signal) {
  for (const column of columns) column.element.ariaBusy = true
  await Promise.all(columns.map(async column => {
    column.answer = await answerOf(column.name, history, k, signal)
    column.places = new Map(column.answer.items.map((item, row) => [item.item_id, row + 1]))
    column.element.ariaBusy = false
    const focused = focus()
    for (const each of columns) show(each, next, pick)
    if (focused) focusRow(...focused)
  }))
}

/** Where the models have an item: [[name, place or undefined]]. */
export const placesOf = id => columns.map(({ name, places }) => [name, places.get(id)])

/** What was found, for screen readers. */
export const summary = () => columns.map(({ name, places }) => `${name}: ${places.size} items.`).join(" ")

function emptyColumn(name) {
  const body = make("div")
  const element = make("section", { class: "column card", "aria-label": name }, make("h3", {}, name), body)
  return { name, answer: null, places: new Map(), element, body }
}

async function answerOf(model, history, k, signal) {
  try {
    const { content, milliseconds } = await ask("recommend", { body: { history, k, model }, signal })
    learn(content.answers[0].items)
    return { ...content.answers[0], facts: [`${milliseconds.toFixed(1)} ms`, `version ${content.model.version}`] }
  } catch (error) {
    if (error.kind !== "refused") throw error
    return { items: [], refused: error.message, facts: [] }
  }
}

function show(column, next, pick) {
  if (!column.answer) return
  const { items, facts } = column.answer
  const others = columns.filter(other => other !== column && other.places.size)
  const n = items.filter(item => others.some(other => other.places.has(item.item_id))).length
  const shared = others.length && items.length ? [`${n} of ${items.length} shared`] : []
  const share = shares(items.map(item => item.score))
  column.body.replaceChildren(
    make("p", { class: "facts muted" }, ...[...facts, ...shared].map(fact => make("span", {}, fact))),
    ...remarks(column.answer).map(remark => make("p", { class: "remark" }, remark)),
    make("ol", {}, ...items.map((item, row) => itemRow(item, row, share[row], tags(item, others, next), pick))))
}

function itemRow(item, row, share, itsTags, pick) {
  const bar = make("span", { class: "bar" })
  bar.style.setProperty("--share", share)
  return make("li", { "data-item": item.item_id }, button({ click: () => pick(item.item_id) },
    make("span", { class: "place" }, String(row + 1)),
    named(item, make("span", { class: "tags" }, ...itsTags)),
    make("span", { class: "score" }, item.score.toFixed(Number.isInteger(item.score) ? 0 : 3), bar)))
}

function tags(item, others, next) {
  const also = others.filter(other => other.places.has(item.item_id))
  const where = also.map(other => `also at ${other.places.get(item.item_id)} in ${other.name}`).join(", ")
  const short = others.length === 1 ? where.split(" in ")[0] : `in ${also.length + 1} of ${others.length + 1}`
  return [
    ...(next.includes(item.item_id) ? [make("span", { class: "tag hit" }, "came next")] : []),
    ...(also.length ? [make("span", { class: "tag shared", title: where }, short)] : []),
  ]
}

/** Lengths of bars, 0 to 1: from 0, or the lowest score if that is below, to the best. */
function shares(scores) {
  const low = Math.min(0, ...scores)
  const span = Math.max(...scores) - low
  return scores.map(score => (span ? (score - low) / span : 1))
}

function remarks({ items, unknown, fallback, refused }) {
  if (refused) return [refused]
  return [
    unknown.length && `Ignored, not known to this model: ${unknown.map(titleOf).join("; ")}.`,
    fallback && "No history that this model knows: the most popular items, with their counts.",
    !items.length && "Nothing is left to recommend.",
  ].filter(Boolean)
}

/** An item under the pointer or the focus stands out in every column. */
function pair(row) {
  for (const other of board.querySelectorAll("li")) {
    other.classList.toggle("paired", other.dataset.item === row?.dataset.item)
  }
}

function pressed(event) {
  const focused = focus()
  if (!focused || !(event.key in STEPS) || event.altKey || event.ctrlKey || event.metaKey) return
  event.preventDefault()
  focusRow(focused[0] + STEPS[event.key][0], focused[1] + STEPS[event.key][1])
}

const rows = column => [...column.element.querySelectorAll("li")]

function focus() {
  const { activeElement } = document
  const number = columns.findIndex(column => column.element.contains(activeElement))
  return number < 0 ? null : [number, rows(columns[number]).findIndex(row => row.contains(activeElement))]
}

function focusRow(number, row) {
  const its = columns[number] ? rows(columns[number]) : []
  its[Math.max(0, Math.min(row, its.length - 1))]?.firstChild.focus()
}
