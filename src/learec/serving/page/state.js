// What is shown, as the page's address holds it: #history=a,b&models=sasrec/0&k=10&session=NAME&next=c

/** `history` and `session.next` are item ids, `models` names. */
export function read(hash) {
  const fields = Object.fromEntries(hash.slice(1).split("&").map(field => field.split("=")))
  return {
    history: list(fields.history),
    models: list(fields.models),
    k: [5, 10, 20, 50].includes(Number(fields.k)) ? Number(fields.k) : 10,
    session: fields.session ? { name: decoded(fields.session), next: list(fields.next) } : null,
  }
}

export function write({ history, models, k, session }) {
  const fields = { history, models, k: [k], ...(session && { session: [session.name], next: session.next }) }
  return "#" + Object.entries(fields).map(([name, values]) => `${name}=${values.map(encoded).join(",")}`).join("&")
}

const list = (text = "") => text.split(",").filter(Boolean).map(decoded)

// Slashes stay readable: names of models have them.
const encoded = text => encodeURIComponent(text).replaceAll("%2F", "/")

function decoded(text) {
  try {
    return decodeURIComponent(text)
  } catch {  // an address that was cut or typed
    return text
  }
}
