// What came next in a real session, and at which place each model has it.

import { itemOf } from "./catalog.js"
import { placesOf } from "./columns.js"
import { button, described, find, make } from "./elements.js"

const list = find("next")

/** Show a session {name, next}, or nothing for null. `add(id)` goes on with an item. */
export function showSession(session, k, add) {
  find("session").hidden = session === null
  if (session === null) return
  const { name, next } = session
  find("session-name").textContent = `Session ${name} ${next.length ? "was held out for the test. Click an item to go on with it." : "ends here."}`
  const focused = list.contains(document.activeElement)
  list.replaceChildren(...next.map(id => make("li", {}, button({ click: () => add(id) },
    described(itemOf(id), make("span", { class: "tags" }, ...placesOf(id).map(pair => placeTag(...pair, k))))))))
  if (focused) (list.querySelector("button") ?? find("leave")).focus()
}

function placeTag(model, place, k) {
  return make("span", { class: place ? "tag hit" : "tag" }, place ? `${model}: at ${place}` : `${model}: not in ${k}`)
}
