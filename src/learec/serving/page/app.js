// The page's story: every change of the history, the models or the number of items ends in `update`, which asks the models.

import { learn, lookUp, titleOf } from "./catalog.js"
import { chooseColumns, loadColumns, startColumns, summary } from "./columns.js"
import { find, make } from "./elements.js"
import { showHistory } from "./history.js"
import { startSearch } from "./search.js"
import { ask, ServiceError } from "./service.js"
import { showSession } from "./session.js"
import { read, write } from "./state.js"
import { askForToken, showToken, startToken } from "./token.js"

let state = read(location.hash)
let served = null  // models of the service, once it has answered
let past = []  // what Undo goes back to
let asking = null
let retry = 0
let notices = 0  // so far

/** Change history or session, so that Undo goes back. */
function change(changes, said) {
  const { history, session } = state
  past.push({ history, session })
  state = { ...state, ...changes }
  update(said)
}

function add(id) {
  const { history, session } = state
  const goesOn = session?.next[0] === id
  const left = goesOn ? { ...session, next: session.next.slice(1) } : session
  change({ history: [...history, id], session: left }, `Added ${titleOf(id)}.`)
}

function remove(place) {
  change({ history: state.history.toSpliced(place, 1) }, `Removed ${titleOf(state.history[place])}.`)
}

function move(from, to) {
  const { history } = state
  change({ history: history.toSpliced(from, 1).toSpliced(to, 0, history[from]) },
    `Moved ${titleOf(history[from])} to ${to + 1} of ${history.length}.`)
}

function clear() {
  change({ history: [], session: null }, "Cleared the history.")
  find("random").focus()
}

function undo() {
  state = { ...state, ...past.pop() }
  update("Undone.")
  if (!past.length) find("random").focus()
}

async function randomSession() {
  try {
    const { history, next, session } = (await ask("sessions/random")).content
    learn([...history, ...next])
    const ids = items => items.map(item => item.item_id)
    change({ history: ids(history), session: { name: session, next: ids(next) } }, `Session ${session}.`)
  } catch (error) {
    problem(error)
  }
}

function chooseModels() {
  state.models = [...find("models").querySelectorAll(":checked")].map(box => box.value)
  chooseColumns(state.models)
  update()
}

/** Show the state, keep it in the address, and ask the models. `said` goes to screen readers with what they answer. */
async function update(said = "") {
  asking?.abort()
  asking = new AbortController()
  const { signal } = asking
  const next = state.session?.next ?? []
  const before = notices
  history.replaceState(null, "", write(state))
  find("undo").disabled = !past.length
  find("clear").disabled = !state.history.length && !state.session
  find("no-model").hidden = !served || state.models.length > 0
  showLists()
  if (!served) return start()
  try {
    await loadColumns(state.history, state.k, next, add, signal)
    await lookUp([...state.history, ...next])
  } catch (error) {
    return signal.aborted || problem(error)
  }
  if (signal.aborted) return
  if (notices === before) fine()  // what another request was told meanwhile is still to be read
  showLists()
  find("status").textContent = `${said} ${summary()}`
}

function showLists() {
  showHistory(state.history, move, remove)
  showSession(state.session, state.k, add)
}

/** Begin, or begin again with another token or address. */
async function start() {
  showToken()
  try {
    served = (await ask("models")).content.models
  } catch (error) {
    return problem(error)
  }
  const chosen = served.filter(model => state.models.includes(model.name))
  state.models = (chosen.length ? chosen : served.filter(model => model.default)).map(model => model.name)
  find("models").replaceChildren(...served.map(({ name }) => make("label", {},
    make("input", { type: "checkbox", value: name, checked: state.models.includes(name), change: chooseModels }), name)))
  find("k").value = state.k
  chooseColumns(state.models)
  update()
}

/** Say what went wrong. What may pass is tried again by itself. */
function problem(error) {
  if (!(error instanceof ServiceError)) throw error
  if (error.kind === "token") askForToken()
  notices += 1
  const [sentence, button] = find("notice").children
  if (sentence.textContent !== error.message) sentence.textContent = error.message
  button.hidden = error.kind === "refused"
  find("notice").hidden = false
  clearTimeout(retry)
  if (["away", "busy"].includes(error.kind)) retry = setTimeout(again, 1000 * error.seconds)
}

function fine() {
  clearTimeout(retry)
  find("notice").hidden = true
}

function again() {
  if (served) update()
  else start()
}

startToken(start)
startSearch(item => add(item.item_id), problem)
startColumns()
find("notice").lastElementChild.addEventListener("click", again)
find("undo").addEventListener("click", undo)
find("clear").addEventListener("click", clear)
find("random").addEventListener("click", randomSession)
find("leave").addEventListener("click", () => change({ session: null }, "Left the session."))
find("k").addEventListener("change", event => {
  state.k = Number(event.target.value)
  update()
})
addEventListener("hashchange", () => {
  state = read(location.hash)
  past = []
  start()
})
start()
