// Search as one types: a combobox with a list, as the ARIA Authoring Practices describe it.

import { learn } from "./catalog.js"
import { described, find, make } from "./elements.js"
import { ask } from "./service.js"

const PAUSE = 120  // milliseconds without a key before the service is asked
const LIMIT = 20
const [input, panel, list, note] = ["query", "panel", "found", "found-note"].map(find)
let items = []
let active = -1
let timer = 0
let stale = false  // more was typed than was searched
let asking = null

/** Once: `choose(item)` on Enter or a click, `fail(error)` where the service does not answer. */
export function startSearch(choose, fail) {
  const look = () => search(fail)
  const pick = place => {
    if (place < 0) return
    input.value = ""
    close()
    choose(items[place])
  }
  input.addEventListener("input", () => {
    stale = true
    activate(-1)
    clearTimeout(timer)
    timer = setTimeout(look, PAUSE)
  })
  input.addEventListener("keydown", event => pressed(event, look, pick))
  input.addEventListener("click", () => panel.hidden && look())
  input.addEventListener("blur", close)
  panel.addEventListener("mousedown", event => event.preventDefault())  // the field keeps the focus
  list.addEventListener("click", event => pick(placeOf(event)))
  list.addEventListener("mousemove", event => activate(placeOf(event)))
  document.addEventListener("keydown", slash)
}

async function search(fail) {
  clearTimeout(timer)
  asking?.abort()
  asking = new AbortController()
  const { signal } = asking
  const query = input.value.trim()
  try {
    const { content } = await ask(`items?${new URLSearchParams({ query, limit: LIMIT })}`, { signal })
    items = content.items
  } catch (error) {
    if (!signal.aborted) fail(error)
    return
  }
  learn(items)
  list.replaceChildren(...items.map((item, place) => make("li", { role: "option", id: `found-${place}` }, described(item))))
  note.textContent = items.length ? `The first ${LIMIT} are shown.` : `No title holds “${query}”.`
  note.hidden = items.length > 0 && items.length < LIMIT
  find("status").textContent = note.hidden ? `${items.length} found.` : note.textContent
  stale = false
  open(true)
  list.scrollTop = 0
  activate(query && items.length ? 0 : -1)
}

function open(is) {
  panel.hidden = !is
  input.ariaExpanded = is
}

function close() {
  stale = false
  clearTimeout(timer)
  asking?.abort()
  open(false)
  activate(-1)
}

function activate(place) {
  active = place
  for (const [other, option] of [...list.children].entries()) option.ariaSelected = other === place
  input.setAttribute("aria-activedescendant", place < 0 ? "" : `found-${place}`)
}

function pressed(event, look, pick) {
  const step = by => {
    if (panel.hidden) return look()
    if (!items.length) return
    activate((Math.max(active, by < 0 ? 0 : -1) + by + items.length) % items.length)
    list.children[active]?.scrollIntoView({ block: "nearest" })
  }
  const keys = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    Enter: () => (stale ? look().then(() => pick(active)) : pick(active)),
    Escape: () => (panel.hidden ? (input.value = "") : close()),
  }
  if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey || !(event.key in keys)) return
  event.preventDefault()
  keys[event.key]()
}

const placeOf = event => [...list.children].indexOf(event.target.closest("li"))

function slash(event) {
  const typing = event.target.closest("input:not([type=checkbox]), select, dialog")
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  input.select()
}
