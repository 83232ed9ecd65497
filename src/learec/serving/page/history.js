// The history as a list, oldest first. Items are moved by buttons or by Alt and arrows, and removed by a button or Delete.

import { itemOf, titleOf } from "./catalog.js"
import { button, described, find, make } from "./elements.js"

const list = find("history")

/** Show item ids. `move(from, to)` and `remove(place)` change the history. The newest comes into view when there are more. */
export function showHistory(ids, move, remove) {
  const more = ids.length > list.children.length
  const focused = focus()
  list.replaceChildren(...ids.map((id, place) => row(id, place, ids.length, move, remove)))
  if (more) list.scrollTop = list.scrollHeight
  if (focused) focusRow(...focused)
  find("history-empty").hidden = ids.length > 0
  find("history-length").textContent = ids.length || ""
}

/** Put the focus on a button of a row, or on another one where that is disabled; on the button below the list without rows. */
export function focusRow(place, name) {
  const its = list.children[Math.min(place, list.children.length - 1)]
  const enabled = its?.querySelector(`[data-does=${name}]:enabled`) ?? its?.querySelector(":enabled") ?? find("random")
  enabled.focus()
}

function focus() {
  const { activeElement } = document
  const place = [...list.children].findIndex(its => its.contains(activeElement))
  return place < 0 ? null : [place, activeElement.dataset.does]
}

function row(id, place, n, move, remove) {
  const title = titleOf(id)
  const moved = to => {
    if (to < 0 || to >= n) return
    const name = focus()?.[1] ?? "remove"
    move(place, to)
    focusRow(to, name)
  }
  const removed = () => {
    remove(place)
    focusRow(place, "remove")
  }
  const pressed = event => {
    const to = place + ({ ArrowUp: -1, ArrowDown: 1 }[event.key] ?? 0)
    if (event.key === "Delete") removed()
    else if (event.altKey && to !== place) moved(to)
    else return
    event.preventDefault()
  }
  const does = (name, sign, label, disabled, click) => button({
    class: "quiet small", "data-does": name, title: label, "aria-label": `${label} ${title}`, disabled, click,
  }, sign)
  return make("li", { keydown: pressed },
    make("span", { class: "place" }, String(place + 1)),
    described(itemOf(id)),
    make("span", { class: "buttons" },
      does("up", "↑", "Move up", place === 0, () => moved(place - 1)),
      does("down", "↓", "Move down", place === n - 1, () => moved(place + 1)),
      does("remove", "×", "Remove", false, removed)))
}
