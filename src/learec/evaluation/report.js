// What the report's pages can do beside being read: sort tables, search sessions, choose agents. Without it nothing is missing.
"use strict"
{
  // Tables: a button in every head sorts the rows of each group by the first number of its column, or by its words.
  const key = cell => {
    const large = cell.cloneNode(true)
    for (const small of large.querySelectorAll("small")) small.remove()
    const text = large.textContent.trim()
    const number = parseFloat(text.replaceAll("−", "-").replaceAll(",", ""))
    return cell.matches("th") || Number.isNaN(number) ? text : number
  }
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true })
  const isMissing = value => value === "" || value === "–"

  const sort = (table, head) => {
    const column = [...head.parentElement.children].indexOf(head)
    const falls = head.ariaSort ? head.ariaSort === "ascending" : head.classList.contains("n")
    for (const other of table.querySelectorAll("th[aria-sort]")) other.ariaSort = null
    head.ariaSort = falls ? "descending" : "ascending"
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter(row => !row.querySelector("[scope=rowgroup]"))
      const keys = new Map(rows.map(row => [row, key(row.cells[column])]))
      rows.sort((one, two) => {
        const [a, b] = [keys.get(one), keys.get(two)]
        return isMissing(a) - isMissing(b) || (falls ? compare(b, a) : compare(a, b))
      })
      body.append(...rows)
    }
  }

  for (const table of document.querySelectorAll("table.results")) {
    for (const head of table.querySelectorAll("thead th[scope=col]")) {
      const button = document.createElement("button")
      button.type = "button"
      button.append(...head.childNodes)
      button.addEventListener("click", () => sort(table, head))
      head.append(button)
    }
  }
}

{
  // Sessions: the controls stand in the page, hidden, and are shown here because only a script can work them.
  const controls = document.querySelector("#browse")
  if (controls) {
    const sessions = [...document.querySelectorAll("details.session")]
    const [query, only, told] = ["search", "only", "told"].map(name => controls.querySelector(`[name=${name}]`))
    const boxes = [...controls.querySelectorAll("[name=agent]")]
    const [previous, next] = ["previous", "next"].map(name => controls.querySelector(`[value=${name}]`))
    const plain = text => text.normalize("NFKD").replace(/\p{Mark}/gu, "").toLowerCase()
    const found = () => sessions.filter(session => !session.hidden)

    const tell = () => {
      const shown = found()
      const place = shown.findIndex(session => session.open)
      const at = shown.length && place >= 0 ? `session ${place + 1} of ${shown.length}` : `${shown.length} sessions`
      told.value = shown.length ? (shown.length < sessions.length ? `${at} found` : at) : "No session has such a title."
      previous.disabled = place <= 0
      next.disabled = !shown.length || place === shown.length - 1
    }

    const open = (session, isMoving) => {
      for (const other of sessions) other.open = other === session
      if (isMoving) session.querySelector("summary").scrollIntoView({ block: "nearest" })
      tell()
    }

    const choose = () => {
      const chosen = new Set(boxes.filter(box => box.checked).map(box => box.value))
      for (const column of document.querySelectorAll(".session [data-agent]")) column.hidden = !chosen.has(column.dataset.agent)
      search()
    }

    const search = () => {
      const wanted = plain(query.value.trim())
      for (const session of sessions) {
        const titles = [...session.querySelectorAll("[data-title]")].filter(title => !title.closest("[hidden]:not(details)"))
        const hits = titles.filter(title => wanted && plain(title.textContent.replace("✓ hit: ", "")).includes(wanted))
        for (const title of titles) title.classList.toggle("match", hits.includes(title))
        const isHit = !only.checked || session.querySelector("[data-agent]:not([hidden]) .hit") !== null
        session.hidden = !isHit || Boolean(wanted && !hits.length)
      }
      const shown = found()
      if (shown.length && !shown.some(session => session.open)) open(shown[0], false)
      tell()
    }

    const step = by => {
      const shown = found()
      const place = shown.findIndex(session => session.open)
      const target = shown[place < 0 ? (by > 0 ? 0 : shown.length - 1) : place + by]
      if (target) open(target, true)
    }

    for (const box of boxes) box.addEventListener("change", choose)
    query.addEventListener("input", search)
    only.addEventListener("change", search)
    previous.addEventListener("click", () => step(-1))
    next.addEventListener("click", () => step(1))
    controls.addEventListener("submit", event => event.preventDefault())
    for (const session of sessions) session.addEventListener("toggle", tell)
    controls.hidden = false
    choose()
  }
}
