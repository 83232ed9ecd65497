// What the page knows of items, by id.

import { ask } from "./service.js"

const AT_ONCE = 6  // requests; browsers open no more connections to a host
const known = new Map()

/** Remember items of an answer; recommended ones come without a category. */
export function learn(items) {
  for (const item of items) known.set(item.item_id, { ...known.get(item.item_id), ...item })
}

/** An item; nothing but its id until it is known. */
export const itemOf = id => known.get(id) ?? { item_id: id }

export const titleOf = id => itemOf(id).title || id

/** Look up the ids that came with the page's address. True if there were any. */
export async function lookUp(ids) {
  const wanted = [...new Set(ids)].filter(id => !known.has(id))
  const any = wanted.length > 0
  while (wanted.length) await Promise.all(wanted.splice(0, AT_ONCE).map(lookUpOne))
  return any
}

async function lookUpOne(id) {
  const { content } = await ask(`items?${new URLSearchParams({ query: id, limit: 1 })}`)
  learn([content.items.find(item => item.item_id === id) ?? { item_id: id, stranger: true }])
}
