// Asks the service. A failure is a ServiceError with a sentence for the reader.

const KEY = "learec token"

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: value => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
}

/** `kind`: away (no answer), busy (it may answer in `seconds`), token (it wants one), refused (asking again does not help). */
export class ServiceError extends Error {
  constructor(kind, sentence, seconds = 5) {
    super(sentence)
    Object.assign(this, { kind, seconds })
  }
}

/** The JSON of a reply, and the milliseconds until it was read. With `body` by POST. Throws ServiceError, or AbortError. */
export async function ask(path, { body, signal } = {}) {
  const start = performance.now()
  try {
    const reply = await fetch(path, options(body, signal))
    if (!reply.ok) throw await problem(reply)
    return { content: await reply.json(), milliseconds: performance.now() - start }
  } catch (error) {
    if (error instanceof ServiceError || signal?.aborted) throw error
    throw new ServiceError("away", "The service does not answer. It may have been stopped, or the network is down.")
  }
}

function options(body, signal) {
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {}
  // Without a token of ours, what the browser was told when it opened the page goes along.
  const credentials = token.get() ? "omit" : "same-origin"
  if (!body) return { headers, credentials, signal }
  headers["Content-Type"] = "application/json"
  return { method: "POST", body: JSON.stringify(body), headers, credentials, signal }
}

async function problem(reply) {
  const content = await reply.json().catch(() => ({}))
  const said = content.error ?? `${reply.status} ${reply.statusText}`
  if (reply.status === 401) return new ServiceError("token", "The service asks for a token.")
  if (![502, 503, 504].includes(reply.status)) return new ServiceError("refused", `The service refused: ${said}`)
  return new ServiceError("busy", `The service cannot answer just now: ${said}`, Number(reply.headers.get("Retry-After")) || 5)
}
